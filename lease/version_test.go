package lease_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

func TestAServerThatIsTooOldIsNamedOnce(t *testing.T) {
	t.Parallel()
	for version, warnings := range map[string]int{
		"3.3.27": 1, "3.4.30": 1, "3.4.31": 0, "3.4.99": 0, "3.5.12": 1, "3.5.13": 0, "3.6.0": 0, "3.7.3": 0,
		"3.8.0-alpha.1": 0, "4.0.0": 0, "unknown": 0,
	} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			forge := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				err := call(ctx, method, req, reply, cc, opts...)
				if status, ok := reply.(*pb.StatusResponse); ok {
					status.Version = version
				}
				return err
			}
			var log page
			session, err := lease.NewSession(t.Context(), s.Client(vtime.WithDialOptions(grpc.WithChainUnaryInterceptor(forge))), log.option())
			require.NoError(t, err)
			vtime.Advance(0)
			require.Equal(t, warnings, strings.Count(log.String(), "version="+version), version)
			require.NoError(t, session.Close(t.Context()))
		})
	}
}
