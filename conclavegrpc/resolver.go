package conclavegrpc

import (
	"errors"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/resolver"
)

// NewBuilder returns a builder for [google.golang.org/grpc.WithResolvers]. The target
// "etcd:///billing" stands for the keys below "billing/". The client remains the caller's:
// close the connections first.
func NewBuilder(client *clientv3.Client, opts ...BuilderOption) (resolver.Builder, error) {
	if client == nil {
		return nil, errors.New("conclavegrpc: client is nil: must be connected to etcd")
	}
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	return &builder{client: client, cfg: c, open: make(map[string]*directory), left: make(map[string]memory)}, nil
}

// maxLeft is how many services without a connection are remembered.
const maxLeft = 1000

// memory is what a directory knew when it was closed.
type memory struct {
	known []resolver.Endpoint
	since time.Time // when it was last known to be true
}

// builder has a directory for each service that a connection is for. What it knew when the last connection was closed,
// which gRPC does when one is idle, serves the next until etcd has been read.
type builder struct {
	client *clientv3.Client
	cfg    config

	mu   sync.Mutex
	open map[string]*directory
	left map[string]memory // of those that are not open
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
		d = openDirectory(b.client, keys, b.cfg, b.left[keys])
		b.open[keys] = d
		delete(b.left, keys)
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
		b.remember(r.directory)
	}
	return last
}

// remember keeps what a directory knows, in place of another's if there are too many. mu must be held.
func (b *builder) remember(d *directory) {
	m := d.memory()
	if len(m.known) == 0 {
		return
	}
	for other := range b.left {
		if len(b.left) < maxLeft {
			break
		}
		delete(b.left, other)
	}
	b.left[d.prefix] = m
}
