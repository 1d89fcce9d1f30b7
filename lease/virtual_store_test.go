package lease_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

func TestAStoreThatGoesBackOrIsAnotherIsSaidSoLoudly(t *testing.T) {
	t.Parallel()
	for name, forge := range map[string]func(*pb.ResponseHeader){
		"restored": func(h *pb.ResponseHeader) { h.Revision -= 3 },
		"another":  func(h *pb.ResponseHeader) { h.ClusterId++ },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				var forged atomic.Bool
				answer := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
					err := call(ctx, method, req, reply, cc, opts...)
					if resp, ok := reply.(*pb.TxnResponse); ok && err == nil && forged.Load() {
						forge(resp.Header)
					}
					return err
				}
				for i := range 5 {
					_, err := s.Client().Put(t.Context(), "key", string(rune('a'+i)))
					require.NoError(t, err)
				}
				var log page
				session, err := lease.NewSession(t.Context(), s.Client(vtime.WithDialOptions(grpc.WithChainUnaryInterceptor(answer))), log.option())
				require.NoError(t, err)
				vtime.Advance(time.Minute)
				require.NotContains(t, log.String(), "store")
				forged.Store(true)
				vtime.Advance(time.Minute)
				require.Equal(t, 1, strings.Count(log.String(), "level=ERROR msg=\"lease: the store is not the one that it was"), log.String())
				require.NoError(t, session.Close(t.Context()))
			})
		})
	}
}
