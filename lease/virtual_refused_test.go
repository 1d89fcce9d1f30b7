package lease_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// wearOut puts so many keys of a lease in doubt that the session puts it out of use.
func wearOut(l *lease.Lease) {
	for i := range 20 {
		inside.Keys(l).Suspect(fmt.Sprint("in doubt ", i), 1, "v")
	}
}

func TestARegistrationIsServedWhileNoOtherLeaseIsGranted(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var rec etcdtest.Recorder
		client := s.Client(vtime.WithDialOptions(rec.DialOptions()...))
		session, err := lease.NewSession(t.Context(), client)
		require.NoError(t, err)
		r, err := lease.Register(t.Context(), session, "registered", "value")
		require.NoError(t, err)
		l, err := session.Lease(t.Context())
		require.NoError(t, err)
		wearOut(l)
		rec.Reset()
		allow := rec.Hook("LeaseGrant", func(context.Context, any, func() error) error { return rpctypes.ErrGRPCNoSpace })
		vtime.Advance(lease.DefaultTTL + time.Minute)
		require.Positive(t, rec.Count("LeaseGrant"), "the lease is worn out")
		require.Less(t, rec.Count("LeaseGrant"), 60)
		require.NoError(t, r.Update(anHour(t), "another"))
		require.NoError(t, r.Err())

		allow()
		vtime.Advance(lease.DefaultTTL)
		requireOwned(t, s, session, "registered")
		require.Error(t, l.Err(), "it has moved to another")
		require.NoError(t, r.Close(anHour(t)))
		require.Nil(t, value(t, client, "registered"))
		require.NoError(t, session.Close(t.Context()))
	})
}

func TestGrantsThatAreRefusedAreAskedForEverMoreSeldom(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var rec etcdtest.Recorder
		client := s.Client(vtime.WithDialOptions(rec.DialOptions()...))
		session, err := lease.NewSession(t.Context(), client)
		require.NoError(t, err)
		r, err := lease.Register(t.Context(), session, "registered", "value")
		require.NoError(t, err)
		l, err := session.Lease(t.Context())
		require.NoError(t, err)
		rec.Reset()
		allow := rec.Hook("LeaseGrant", func(context.Context, any, func() error) error { return rpctypes.ErrGRPCNoSpace })
		_, err = client.Revoke(t.Context(), l.ID())
		require.NoError(t, err)
		vtime.Advance(time.Minute)
		require.Error(t, l.Err())
		require.GreaterOrEqual(t, rec.Count("LeaseGrant"), 10)
		require.Less(t, rec.Count("LeaseGrant"), 30)
		allow()
		vtime.Advance(10 * time.Second)
		require.NoError(t, r.Err())
		requireOwned(t, s, session, "registered")
		require.NoError(t, session.Close(t.Context()))
	})
}

// putsUnderOthers refuses the session's puts under any lease but one until allow is called.
func putsUnderOthers(rec *etcdtest.Recorder, id clientv3.LeaseID) (allow func()) {
	return rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		txn, ok := req.(*pb.TxnRequest)
		if !ok {
			return invoke()
		}
		for _, op := range txn.Success {
			for _, nested := range op.GetRequestTxn().GetSuccess() {
				if put := nested.GetRequestPut(); put != nil && put.Lease != int64(id) {
					return rpctypes.ErrGRPCPermissionDenied
				}
			}
		}
		return invoke()
	})
}

func TestARegistrationStaysWhereItIsWhenItsMoveIsRefused(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			var rec etcdtest.Recorder
			client := s.Client(vtime.WithDialOptions(rec.DialOptions()...))
			session, err := lease.NewSession(t.Context(), client)
			require.NoError(t, err)
			r, err := lease.Register(t.Context(), session, "registered", "value")
			require.NoError(t, err)
			l, err := session.Lease(t.Context())
			require.NoError(t, err)
			allow := putsUnderOthers(&rec, l.ID())
			wearOut(l)
			vtime.Advance(3 * lease.DefaultTTL)
			next, err := session.Lease(t.Context())
			require.NoError(t, err)
			require.NotSame(t, l, next)
			require.NotNil(t, value(t, client, "registered"))
			require.NoError(t, l.Err())
			require.ErrorIs(t, r.Err(), rpctypes.ErrPermissionDenied)

			if lost {
				onAcknowledgement(&rec, func(_ int, resp *pb.LeaseKeepAliveResponse) (bool, error) {
					return resp.ID == int64(l.ID()), nil
				})
				vtime.Advance(lease.DefaultTTL)
				require.ErrorIs(t, l.Err(), lease.ErrLost)
			}
			allow()
			vtime.Advance(lease.DefaultTTL)
			require.NoError(t, r.Err())
			requireOwned(t, s, session, "registered")
			require.Error(t, l.Err(), "it carries nothing any more")
			require.NoError(t, session.Close(t.Context()))
		})
	}
}

func TestAPutThatArrivesUnderALeaseThatItsRegistrationHasLeftIsRemoved(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var rec etcdtest.Recorder
		client := s.Client(vtime.WithDialOptions(rec.DialOptions()...))
		session, err := lease.NewSession(t.Context(), client)
		require.NoError(t, err)
		m, err := lock.NewMutex(session, "lock")
		require.NoError(t, err)
		h, err := m.Lock(t.Context()) // the lease lives as long as that
		require.NoError(t, err)
		l, err := session.Lease(t.Context())
		require.NoError(t, err)

		stuck := make(chan *pb.TxnRequest, 1)
		stop := rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
			if txn, ok := req.(*pb.TxnRequest); ok && len(stuck) == 0 {
				stuck <- proto.CloneOf(txn)
				return status.Error(codes.Unavailable, "no reply")
			}
			return invoke()
		})
		r, err := lease.Register(t.Context(), session, "registered", "value")
		require.NoError(t, err)
		stop()
		wearOut(l)
		vtime.Advance(3 * lease.DefaultTTL)
		require.NoError(t, l.Err())
		requireOwned(t, s, session, "registered")
		require.NoError(t, r.Err())
		require.NoError(t, r.Close(t.Context()))

		_, err = pb.NewKVClient(client.ActiveConnection()).Txn(t.Context(), <-stuck)
		require.NoError(t, err)
		require.NotNil(t, value(t, client, "registered"))
		vtime.Advance(lease.DefaultTTL)
		require.NoError(t, h.Err())
		require.Nil(t, value(t, client, "registered"))
		require.NoError(t, session.Close(t.Context()))
	})
}

func TestARefusedUpdateOfOneOfManyRegistrationsIsTriedAgainWithEachRound(t *testing.T) {
	t.Parallel()
	const many, rounds = 300, 3 // more than a look reads in one request
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var rec etcdtest.Recorder
		session, err := lease.NewSession(t.Context(), s.Client(vtime.WithDialOptions(rec.DialOptions()...)))
		require.NoError(t, err)
		all := make([]*lease.Registration, many)
		var registering sync.WaitGroup
		for i := range all {
			registering.Go(func() {
				r, err := lease.Register(t.Context(), session, fmt.Sprint("registered ", i), "value")
				if err != nil {
					t.Error(err)
				}
				all[i] = r
			})
		}
		registering.Wait()
		require.False(t, t.Failed())
		var refused atomic.Int32
		allow := rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
			if !writes(req) {
				return invoke()
			}
			refused.Add(1)
			return rpctypes.ErrGRPCPermissionDenied
		})
		require.ErrorIs(t, all[many/2].Update(t.Context(), "another"), rpctypes.ErrPermissionDenied)
		require.EqualValues(t, 1, refused.Load())
		vtime.Advance(lease.DefaultTTL)
		require.EqualValues(t, 1+rounds, refused.Load())
		require.ErrorIs(t, all[many/2].Err(), rpctypes.ErrPermissionDenied)

		allow()
		vtime.Advance(lease.DefaultTTL)
		require.NoError(t, all[many/2].Err())
		require.Equal(t, "another", string(value(t, s.Client(), fmt.Sprint("registered ", many/2))))
		rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
			if writes(req) {
				t.Error("it is in place and put again")
			}
			return invoke()
		})
		vtime.Advance(lease.DefaultTTL)
		require.NoError(t, session.Close(t.Context()))
	})
}

// writes reports whether a request is a registrar's.
func writes(req any) bool {
	txn, ok := req.(*pb.TxnRequest)
	return ok && len(txn.Success) > 0 && txn.Success[0].GetRequestTxn() != nil
}
