package conclavetest

import (
	"testing"

	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/vtime"
)

// VirtualClusterWith is VirtualCluster with grpc options of the server.
func VirtualClusterWith(t *testing.T, fn func(t *testing.T, c *Cluster), opts ...grpc.ServerOption) {
	t.Helper()
	virtualCluster(t, fn, vtime.WithServerOptions(opts...))
}
