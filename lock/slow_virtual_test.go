package lock_test

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// A round has time for its renewal and one request more.
func TestOnASlowLinkRoundsFindWhatAnOperatorDeletes(t *testing.T) {
	t.Parallel()
	const ttl, registration = 10 * time.Second, "registration"
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		operator := s.Client()
		session, err := lease.NewSession(t.Context(), s.SlowClient(time.Second, time.Second), lease.WithTTL(ttl))
		require.NoError(t, err)
		var holds []*lock.Hold
		for i := range 5 {
			m, err := lock.NewMutex(session, strconv.Itoa(i))
			require.NoError(t, err)
			h, err := m.Lock(t.Context())
			require.NoError(t, err)
			holds = append(holds, h)
		}
		r, err := lease.Register(t.Context(), session, registration, "here")
		require.NoError(t, err)
		vtime.Advance(3 * ttl)
		for _, key := range []string{holds[2].Key(), registration} {
			_, err = operator.Delete(t.Context(), key)
			require.NoError(t, err)
		}
		vtime.Advance(3 * ttl)
		for i, h := range holds {
			require.Equal(t, i == 2, h.Err() != nil, "%d: %v", i, h.Err())
		}
		there, err := operator.Get(t.Context(), registration)
		require.NoError(t, err)
		require.Len(t, there.Kvs, 1, "it is put again")
		require.NoError(t, r.Err())
		require.NoError(t, session.Close(t.Context()))
	})
}

// What a put has left that came after its removal blocks nobody for longer than on a fast link.
func TestOnASlowLinkRoundsRemoveWhatIsInDoubt(t *testing.T) {
	t.Parallel()
	const ttl, late = 10 * time.Second, 8 * time.Second // later than both removals
	var met atomic.Bool
	slow := grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if txn, ok := req.(*pb.TxnRequest); ok && len(txn.Success) > 0 && txn.Success[0].GetRequestPut() != nil &&
			strings.HasPrefix(string(txn.Success[0].GetRequestPut().Key), "m/") && !met.Swap(true) {
			vtime.Sleep(late)
			ctx = context.WithoutCancel(ctx)
		}
		return handle(ctx, req)
	})
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		session, err := lease.NewSession(t.Context(), s.SlowClient(time.Second, time.Second), lease.WithTTL(ttl))
		require.NoError(t, err)
		other, err := lock.NewMutex(session, "other")
		require.NoError(t, err)
		m, err := lock.NewMutex(session, "m")
		require.NoError(t, err)
		_, err = other.Lock(t.Context()) // so that the lease stays in use
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		_, err = m.Lock(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		vtime.Advance(late)
		operator := s.Client()
		left := func() int64 {
			resp, err := operator.Get(t.Context(), "m/", clientv3.WithPrefix(), clientv3.WithCountOnly())
			require.NoError(t, err)
			return resp.Count
		}
		require.EqualValues(t, 1, left(), "it has come")
		vtime.Advance(2 * ttl)
		require.Zero(t, left())
		require.NoError(t, session.Close(t.Context()))
	}, vtime.WithServerOptions(slow))
}
