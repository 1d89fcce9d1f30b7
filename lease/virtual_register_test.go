package lease_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

func TestARegistrationIsBackSoonAfterAnOutageOfAnyLength(t *testing.T) {
	t.Parallel()
	for _, outage := range []time.Duration{2 * time.Second, 20 * time.Second, suite.Long(10*time.Minute, time.Hour)} {
		for name, cutOff := range map[string]func(*vtime.Cut){"cut": (*vtime.Cut).Cut, "held": (*vtime.Cut).Hold, "cut to the client": (*vtime.Cut).CutToClient} {
			t.Run(fmt.Sprint(name, " for ", outage), func(t *testing.T) {
				t.Parallel()
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					calls := vtime.NewDrag(1, mostDrag)
					client, cut := s.CutClient(vtime.WithDrag(calls))
					session, err := lease.NewSession(t.Context(), client, lease.WithTTL(5*time.Second))
					require.NoError(t, err)
					r, err := lease.Register(t.Context(), session, "key", "value")
					require.NoError(t, err)
					vtime.Advance(time.Minute)
					require.NoError(t, r.Err())

					before := total(calls)
					cutOff(cut)
					vtime.Advance(outage)
					t.Logf("%d calls in %v", total(calls)-before, outage)
					require.LessOrEqual(t, total(calls)-before, 30+int(outage/time.Second), "no hot loop")
					cut.Heal()
					vtime.Advance(10 * time.Second)
					require.NoError(t, r.Err())
					requireOwned(t, s, session, "key")
					vtime.Advance(time.Minute) // what the outage left behind has expired
					requireOwned(t, s, session, "key")
					left, err := s.Client().Leases(t.Context())
					require.NoError(t, err)
					require.Len(t, left.Leases, 1)
					require.NoError(t, session.Close(t.Context()))
				})
			})
		}
	}
}

func TestADeletedRegistrationIsBackWithinARound(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Second
	draw := rand.New(rand.NewPCG(1, 2))
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		session, err := lease.NewSession(t.Context(), s.Client(vtime.WithDrag(vtime.NewDrag(1, mostDrag))), lease.WithTTL(ttl))
		require.NoError(t, err)
		r, err := lease.Register(t.Context(), session, "key", "value")
		require.NoError(t, err)
		operator := s.Client()
		var longest time.Duration
		for range 100 {
			vtime.Sleep(time.Duration(draw.Int64N(int64(ttl))))
			_, err := operator.Delete(t.Context(), "key")
			require.NoError(t, err)
			began := time.Now()
			events := operator.Watch(anHour(t), "key", clientv3.WithFilterDelete())
			require.NotEmpty(t, (<-events).Events)
			longest = max(longest, time.Since(began))
			synctest.Wait()
		}
		t.Logf("back within %v", longest)
		require.LessOrEqual(t, longest, ttl/3+10*mostDrag)
		vtime.Advance(time.Second)
		require.NoError(t, r.Err())
		require.NoError(t, session.Close(t.Context()))
	})
}

func TestClosingARegistrationWithADoneContextDoesNotWaitForAServerThatCannotBeReached(t *testing.T) {
	t.Parallel()
	const grace = 10 * time.Second
	for _, before := range []bool{true, false} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			session, err := lease.NewSession(t.Context(), s.Client(), lease.WithTTL(time.Minute), lease.WithGrace(grace))
			require.NoError(t, err)
			r, err := lease.Register(t.Context(), session, "registered", "value")
			require.NoError(t, err)
			s.Stop()
			ctx, cancel := context.WithCancel(t.Context())
			if before {
				cancel()
			} else {
				time.AfterFunc(grace, cancel)
			}
			began := time.Now()
			require.ErrorIs(t, r.Close(ctx), context.Canceled)
			took := time.Since(began)
			if !before {
				took -= grace
			}
			require.Less(t, took, grace/5)
			cancel()
			s.Start()
			require.NoError(t, r.Close(anHour(t)))
			require.Nil(t, value(t, s.Client(), "registered"))
			require.NoError(t, session.Close(t.Context()))
		})
	}
}

// The reply to an update is lost, and then the lease: what the update has left under that is
// the registration's own.
func TestARegistrationMovesFromALostLeaseThatHoldsAnUpdateWithoutReply(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var rec etcdtest.Recorder
		session, err := lease.NewSession(t.Context(), s.Client(vtime.WithDialOptions(rec.DialOptions()...)), lease.WithTTL(10*time.Second))
		require.NoError(t, err)
		r, err := lease.Register(t.Context(), session, "key", "first")
		require.NoError(t, err)
		l, err := session.Lease(t.Context())
		require.NoError(t, err)
		onAcknowledgement(&rec, func(_ int, resp *pb.LeaseKeepAliveResponse) (bool, error) { return resp.ID == int64(l.ID()), nil })
		rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
			err := invoke()
			if writes(req) && !isDone(l.Context()) {
				return status.Error(codes.Unavailable, "no reply")
			}
			return err
		})
		allow := rec.Hook("LeaseRevoke", func(context.Context, any, func() error) error { return status.Error(codes.Unavailable, "not yet") })
		require.NoError(t, r.Update(anHour(t), "second"))
		requireLost(t, l)
		require.NoError(t, r.Err())
		requireOwned(t, s, session, "key")
		require.Equal(t, "second", string(value(t, s.Client(), "key")))
		allow()
		vtime.Advance(time.Minute)
		requireOwned(t, s, session, "key")
		require.NoError(t, session.Close(t.Context()))
	})
}

func TestAnUpdateThatComesWhileAnotherIsUnderWayIsMadeAfterIt(t *testing.T) {
	t.Parallel()
	const took = 100 * time.Millisecond
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var rec etcdtest.Recorder
		session, err := lease.NewSession(t.Context(), s.Client(vtime.WithDialOptions(rec.DialOptions()...)))
		require.NoError(t, err)
		r, err := lease.Register(t.Context(), session, "key", "first")
		require.NoError(t, err)
		rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
			if writes(req) {
				vtime.Sleep(took)
			}
			return invoke()
		})
		within := anHour(t)
		second := make(chan error, 1)
		go func() { second <- r.Update(within, "second") }()
		vtime.Advance(took / 2)
		require.NoError(t, r.Update(within, "third"))
		require.NoError(t, <-second)
		require.Equal(t, "third", string(value(t, s.Client(), "key")))
		require.NoError(t, session.Close(t.Context()))
	})
}

// The first put is on its way for long. Another attempt at it goes through, after the place of
// the registration was taken by another.
func TestAPutThatArrivesLateIsRemovedAlthoughItsRegistrationWasReplaced(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		const ttl = 10 * time.Second
		var rec etcdtest.Recorder
		session, err := lease.NewSession(t.Context(), s.Client(vtime.WithDialOptions(rec.DialOptions()...)), lease.WithTTL(ttl))
		require.NoError(t, err)
		var late *pb.TxnRequest
		var first atomic.Bool
		remove := rec.Hook("Txn", func(ctx context.Context, req any, invoke func() error) error {
			if reads(req) || first.Swap(true) {
				return invoke()
			}
			late, _ = req.(*pb.TxnRequest)
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		})
		ctx, giveUp := context.WithTimeout(t.Context(), ttl/20)
		defer giveUp()
		_, err = lease.Register(ctx, session, "key", "first")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		r, err := lease.Register(anHour(t), session, "key", "second")
		require.NoError(t, err)
		remove()
		require.Equal(t, "second", string(value(t, s.Client(), "key")))
		require.NoError(t, r.Close(anHour(t)))
		require.Nil(t, value(t, s.Client(), "key"))

		_, err = pb.NewKVClient(s.Client().ActiveConnection()).Txn(t.Context(), late)
		require.NoError(t, err)
		require.Equal(t, "first", string(value(t, s.Client(), "key")))
		vtime.Advance(ttl / 2)
		require.Nil(t, value(t, s.Client(), "key"))
		l, err := session.Lease(t.Context())
		require.NoError(t, err)
		require.Zero(t, l.Doubts())
		require.NoError(t, session.Close(t.Context()))
	})
}
