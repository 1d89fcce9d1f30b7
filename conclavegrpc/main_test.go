package conclavegrpc_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"

	"github.com/conclave-go/conclave/conclavegrpc"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

func TestMain(m *testing.M) { etcdtest.Main(m) }

// guard is how long a test waits for what must happen; only a failure takes that long.
const guard = 5 * time.Minute

func guarded(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), guard)
	tb.Cleanup(cancel)
	return ctx
}

func newSession(t *testing.T, client *clientv3.Client) *lease.Session {
	t.Helper()
	s, err := lease.NewSession(guarded(t), client)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(guarded(t))) })
	return s
}

// server is a gRPC server with the health service, which the tests call.
type server struct {
	*grpc.Server
	health *health.Server
	addr   string
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{Server: grpc.NewServer(), health: health.NewServer()}
	healthgrpc.RegisterHealthServer(s, s.health)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.addr = l.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) }) // fails when it is stopped
	t.Cleanup(func() { s.Stop(); serving.Wait() })
	return s
}

// dial returns a connection that balances its calls among those a builder finds.
func dial(t *testing.T, b resolver.Builder, target string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithResolvers(b), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func newBuilder(t *testing.T, client *clientv3.Client, opts ...conclavegrpc.BuilderOption) resolver.Builder {
	t.Helper()
	b, err := conclavegrpc.NewBuilder(client, opts...)
	require.NoError(t, err)
	return b
}

// call makes one call and returns who answered it.
func call(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) (addr string, err error) {
	var p peer.Peer
	_, err = healthgrpc.NewHealthClient(conn).Check(ctx, &healthgrpc.HealthCheckRequest{}, append(opts, grpc.Peer(&p))...)
	if err != nil {
		return "", err
	}
	return p.Addr.String(), nil
}

// awaitCallers calls until calls go to just these servers.
func awaitCallers(t *testing.T, conn *grpc.ClientConn, want ...string) {
	t.Helper()
	ctx := guarded(t)
	for {
		seen := make(map[string]bool)
		for range 4 * max(len(want), 1) {
			addr, err := call(ctx, conn, grpc.WaitForReady(true))
			require.NoError(t, err, "calls go to %v, not to %v", seen, want)
			seen[addr] = true
		}
		exact := len(seen) == len(want)
		for _, addr := range want {
			exact = exact && seen[addr]
		}
		if exact {
			return
		}
	}
}

func register(t *testing.T, s *lease.Session, service, instance, addr string, opts ...conclavegrpc.RegisterOption) *conclavegrpc.Registration {
	t.Helper()
	r, err := conclavegrpc.Register(guarded(t), s, service, instance, conclavegrpc.Endpoint{Addr: addr}, opts...)
	require.NoError(t, err)
	return r
}

// service returns a name that no other test has.
func service(t *testing.T, c *etcdtest.Cluster) string {
	t.Helper()
	return c.Prefix(t) + fmt.Sprintf("svc-%p", t)
}
