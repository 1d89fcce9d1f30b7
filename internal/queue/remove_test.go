package queue_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// A put that was cancelled on its way is overtaken by its own removal: nobody waits for the next
// look until it has gone.
func TestAPutThatComesJustAfterItsRemovalIsRemoved(t *testing.T) {
	t.Parallel()
	const late = 30 * time.Millisecond
	slow := grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if txn, ok := req.(*pb.TxnRequest); ok && len(txn.Success) > 0 && txn.Success[0].GetRequestPut() != nil {
			vtime.Sleep(late)
			ctx = context.WithoutCancel(ctx)
		}
		return handle(ctx, req)
	})
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(time.Minute))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), late/3)
		defer cancel()
		_, err = exclusive(&peertest.Peer{Session: session}, "a").Acquire(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		vtime.Advance(late)
		left := func() int64 {
			resp, err := client.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithCountOnly())
			require.NoError(t, err)
			return resp.Count
		}
		require.EqualValues(t, 1, left(), "it has come")
		vtime.Advance(100 * time.Millisecond) // no look is due
		require.Zero(t, left())
		require.NoError(t, session.Close(t.Context()))
	}, vtime.WithServerOptions(slow))
}
