package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing" // your service goes here

	"github.com/conclave-go/conclave/conclavegrpc"
	"github.com/conclave-go/conclave/lease"
)

const (
	// drainGrace is how long a server goes on serving after it has left the registry, until
	// clients have learned of it.
	drainGrace = 300 * time.Millisecond
	// drainTimeout is less than supervisors wait between SIGTERM and SIGKILL.
	drainTimeout = 8 * time.Second
)

// server is one of those that share the calls of a service.
type server struct {
	testgrpc.UnimplementedTestServiceServer
	service, name string
	listen        string // an address that clients can dial
	about         about
}

// about is what balancers can learn of a server from the registry.
type about struct{ Zone, Version string }

// registryMain would be main in your copy: a server or a client until SIGTERM or Ctrl-C.
func registryMain(ctx context.Context, args []string) error {
	s := &server{}
	fs := flag.NewFlagSet("registry", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: after a crash clients find the server for this long")
	fs.StringVar(&s.service, "service", "whoami", "`name` of the service in the registry")
	fs.StringVar(&s.listen, "listen", "127.0.0.1:0", "`address` to listen on, which clients dial")
	fs.StringVar(&s.name, "name", "", "`name` of this server (default its address)")
	fs.StringVar(&s.about.Zone, "zone", "", "`zone` of this server")
	fs.StringVar(&s.about.Version, "version", "", "`version` of this server")
	calls := fs.Bool("client", false, "be a client, which calls the service every second")
	_ = fs.Parse(args) // it exits if it fails
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(*endpoints, ","), DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	if *calls {
		return call(ctx, client, s.service)
	}
	return s.serve(ctx, client, *ttl)
}

// serve answers calls until ctx ends, and then drains: no call fails.
func (s *server) serve(ctx context.Context, client *clientv3.Client, ttl time.Duration) error {
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	self := conclavegrpc.Endpoint{Addr: listener.Addr().String(), Metadata: s.about}
	if s.name == "" {
		s.name = self.Addr
	}
	g := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(g, s)
	served := make(chan error, 1)
	go func() { served <- g.Serve(listener) }() // ends with Stop
	defer g.Stop()

	start, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	session, err := lease.NewSession(start, client, lease.WithTTL(ttl), lease.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	defer session.Close(ctx)
	r, err := conclavegrpc.Register(start, session, s.service, s.name, self, conclavegrpc.WithDrainGrace(drainGrace))
	if err != nil {
		return err
	}
	slog.Info("registered", "service", s.service, "name", s.name, "address", self.Addr)
	select { // a lost lease is no reason to stop: the address is registered again under the next one
	case err = <-served:
	case <-ctx.Done():
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	return errors.Join(err, r.Drain(within, g))
}

// UnaryCall answers with the server's name.
func (s *server) UnaryCall(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	<-time.After(5 * time.Millisecond) // the work
	return &testgrpc.SimpleResponse{ServerId: s.name}, nil
}

// connect returns a connection that round-robins over a service's servers.
func connect(client *clientv3.Client, service string) (*grpc.ClientConn, error) {
	builder, err := conclavegrpc.NewBuilder(client, conclavegrpc.WithLogger(slog.Default()))
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("etcd:///"+service, grpc.WithResolvers(builder),
		grpc.WithDefaultServiceConfig(`{
			"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": [{"name": [{}], "timeout": "5s"}]}`),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// ask calls the service once, and returns the name of the server that has answered.
func ask(ctx context.Context, conn *grpc.ClientConn) (string, error) {
	resp, err := testgrpc.NewTestServiceClient(conn).UnaryCall(ctx, &testgrpc.SimpleRequest{})
	return resp.GetServerId(), err
}

// call calls the service every second until ctx ends.
func call(ctx context.Context, client *clientv3.Client, service string) error {
	conn, err := connect(client, service)
	if err != nil {
		return err
	}
	defer conn.Close()
	for ctx.Err() == nil {
		name, err := ask(ctx, conn)
		slog.Info("called", "server", name, "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return nil
}
