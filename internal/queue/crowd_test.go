package queue_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// atOnce counts the transactions that a server has under way, each of which takes it a time.
type atOnce struct {
	takes     time.Duration
	now, most atomic.Int64
}

func (a *atOnce) intercept(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if _, ok := req.(*pb.TxnRequest); ok {
		now := a.now.Add(1)
		defer a.now.Add(-1)
		for most := a.most.Load(); now > most && !a.most.CompareAndSwap(most, now); most = a.most.Load() {
		}
		vtime.Sleep(a.takes)
	}
	return handle(ctx, req)
}

// A crowd's requests wait in the process, so that renewals do not wait behind them.
func TestTheRequestsOfACrowdGoOutSomeAtATime(t *testing.T) {
	t.Parallel()
	const many, entries, removals = 500, 32, 128
	for what, c := range map[string]struct {
		plain       func(q *queue.Queue)
		tries, most int64
	}{
		"together": {func(*queue.Queue) {}, entries, entries},
		"alone":    {func(q *queue.Queue) { q.Nests = true }, entries, removals},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			server := &atOnce{takes: 5 * time.Millisecond}
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				session, err := lease.NewSession(t.Context(), s.Client(), lease.WithTTL(time.Minute))
				require.NoError(t, err)
				p := &peertest.Peer{Session: session}
				grants := make([]*queue.Grant, many)
				slowest(t, many, func(i int) error {
					q := exclusive(p, fmt.Sprint(i))
					c.plain(q)
					g, _, taken, err := q.TryAcquire(t.Context())
					if taken {
						return fmt.Errorf("%d is taken", i)
					}
					grants[i] = g
					return err
				})
				require.LessOrEqual(t, server.most.Swap(0), c.tries)
				slowest(t, many, func(i int) error { return grants[i].Release(t.Context()) })
				require.LessOrEqual(t, server.most.Load(), c.most)
				require.Zero(t, left(t, s.Client()))
				require.NoError(t, session.Close(t.Context()))
			}, vtime.WithServerOptions(grpc.UnaryInterceptor(server.intercept)))
		})
	}
}
