package naming

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	official "go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc/resolver"

	"github.com/conclave-go/conclave/conclavegrpc"
	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/lease"
)

// library is one under comparison.
type library struct {
	name, lacks string
	builder     func(client *clientv3.Client) (resolver.Builder, error)
	// session gives a server's process a lease.
	session func(ctx context.Context, client *clientv3.Client) (session, error)
}

// session is the lease of a server's process.
type session interface {
	// register registers a server under a service, and returns what ends that.
	register(ctx context.Context, service, instance, addr string) (func(ctx context.Context) error, error)
	// close ends the lease, which may have expired.
	close(ctx context.Context) error
}

func libraries() []library {
	return []library{
		{perf.Ours, "", func(client *clientv3.Client) (resolver.Builder, error) { return conclavegrpc.NewBuilder(client) }, openOurs},
		{"clientv3/naming", "a resolver that goes on after an error, a registration that heals", official.NewBuilder, openOfficial},
	}
}

type ourSession struct{ s *lease.Session }

func openOurs(ctx context.Context, client *clientv3.Client) (session, error) {
	s, err := lease.NewSession(ctx, client, lease.WithTTL(ttl))
	return ourSession{s}, err
}

func (o ourSession) register(ctx context.Context, service, instance, addr string) (func(ctx context.Context) error, error) {
	r, err := conclavegrpc.Register(ctx, o.s, service, instance, conclavegrpc.Endpoint{Addr: addr})
	if err != nil {
		return nil, err
	}
	return r.Close, nil
}

func (o ourSession) close(ctx context.Context) error { return o.s.Close(ctx) }

type officialSession struct {
	client *clientv3.Client
	s      *concurrency.Session
}

func openOfficial(ctx context.Context, client *clientv3.Client) (session, error) {
	s, err := concurrency.NewSession(client, concurrency.WithTTL(int(ttl/time.Second)), concurrency.WithContext(context.WithoutCancel(ctx)))
	return officialSession{client, s}, err
}

func (o officialSession) register(ctx context.Context, service, instance, addr string) (func(ctx context.Context) error, error) {
	m, err := endpoints.NewManager(o.client, service)
	if err != nil {
		return nil, err
	}
	key := service + "/" + instance
	err = m.AddEndpoint(ctx, key, endpoints.Endpoint{Addr: addr}, clientv3.WithLease(o.s.Lease()))
	return func(ctx context.Context) error { return m.DeleteEndpoint(ctx, key) }, err
}

func (o officialSession) close(context.Context) error {
	if err := o.s.Close(); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return err
	}
	return nil
}
