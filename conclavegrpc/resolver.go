package conclavegrpc

import (
	"errors"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/resolver"
)

// NewBuilder returns a builder for [google.golang.org/grpc.WithResolvers]. The target
// "etcd:///billing" stands for the keys below "billing/". The client stays the caller's:
// close the connections first.
func NewBuilder(client *clientv3.Client, opts ...BuilderOption) (resolver.Builder, error) {
	if client == nil {
		return nil, errors.New("conclavegrpc: client is nil: must be connected to etcd")
	}
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	return &builder{client: client, cfg: c, open: make(map[string]*directory)}, nil
}

// builder has a directory for each service that a connection is for.
type builder struct {
	client *clientv3.Client
	cfg    config

	mu   sync.Mutex
	open map[string]*directory
}

// Scheme implements [resolver.Builder].
func (b *builder) Scheme() string { return b.cfg.scheme }

// Build implements [resolver.Builder].
func (b *builder) Build(target resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	service := target.URL.Path
	if service == "" {
		service = target.URL.Opaque
	}
	keys, err := prefix(strings.TrimPrefix(service, "/"))
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.open[keys]
	if d == nil {
		d = openDirectory(b.client, keys, b.cfg)
		b.open[keys] = d
	}
	r := &serviceResolver{builder: b, directory: d, conn: conn}
	d.join(r)
	return r, nil
}

// serviceResolver tells one connection about the servers of its service.
type serviceResolver struct {
	builder   *builder
	directory *directory
	conn      resolver.ClientConn
}

// ResolveNow implements [resolver.Resolver]: what there is to know has been told.
func (r *serviceResolver) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements [resolver.Resolver]. The last one closes the directory.
func (r *serviceResolver) Close() {
	if r.builder.leave(r) {
		r.directory.close()
	}
}

// leave takes a resolver out of its directory, and reports whether it was the last.
func (b *builder) leave(r *serviceResolver) (last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last = r.directory.leave(r)
	if last {
		delete(b.open, r.directory.prefix)
	}
	return last
}
