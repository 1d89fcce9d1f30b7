package naming

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
)

// server is a gRPC server that may vanish: it then answers nothing.
type server struct {
	addr   string
	grpc   *grpc.Server
	vanish func()
	served chan struct{}
}

func newServer(ctx context.Context) (*server, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	gone := make(chan struct{})
	answer := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		select {
		case <-gone:
			<-ctx.Done()
			return nil, ctx.Err()
		default:
			return handle(ctx, req)
		}
	}
	s := &server{
		addr: l.Addr().String(), grpc: grpc.NewServer(grpc.UnaryInterceptor(answer)),
		vanish: sync.OnceFunc(func() { close(gone) }), served: make(chan struct{}),
	}
	healthgrpc.RegisterHealthServer(s.grpc, health.NewServer())
	go func() { // ends with stop
		defer close(s.served)
		_ = s.grpc.Serve(l) // its error says that it was stopped
	}()
	return s, nil
}

func (s *server) stop() {
	s.grpc.Stop()
	<-s.served
}

// dial returns a connection to a service, whose calls go to its servers in turn.
func dial(builder resolver.Builder, service string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("etcd:///"+service, grpc.WithResolvers(builder), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	if err == nil {
		conn.Connect()
	}
	return conn, err
}

// call calls a service, whose server may take so long.
func call(ctx context.Context, conn *grpc.ClientConn, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := healthgrpc.NewHealthClient(conn).Check(ctx, &healthgrpc.HealthCheckRequest{}, grpc.WaitForReady(true))
	return err
}
