package main

import (
	"context"
	"encoding/json"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/resolver"

	"github.com/conclave-go/conclave/watch"
)

// instance is what a server says of itself, as the value of its key.
type instance struct {
	Addr     string
	Zone     string
	Version  string
	Draining bool // it answers still, and wants no new calls
}

// openDirectory loads all servers and follows their changes. The connections of a
// process share one directory.
func openDirectory(ctx context.Context, client *clientv3.Client, prefix string) (*watch.Cache[instance], error) {
	return watch.NewCache(ctx, client, prefix, func(_ string, value []byte) (i instance, err error) {
		return i, json.Unmarshal(value, &i)
	})
}

// scheme is what a target begins with that is looked up in a directory.
const scheme = "registry"

// builder makes gRPC find servers in a directory, see [grpc.WithResolvers].
type builder struct {
	directory *watch.Cache[instance]
}

// Scheme implements [resolver.Builder].
func (b builder) Scheme() string { return scheme }

// Build implements [resolver.Builder].
func (b builder) Build(_ resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	ctx, cancel := context.WithCancel(context.Background()) // Close ends it
	r := &directoryResolver{directory: b.directory, conn: conn, cancel: cancel}
	r.following.Go(func() { r.follow(ctx) })
	return r, nil
}

// directoryResolver tells one connection about the servers.
type directoryResolver struct {
	directory *watch.Cache[instance]
	conn      resolver.ClientConn
	cancel    context.CancelFunc
	following sync.WaitGroup // ends after cancel
}

// follow tells of every change, to the end of ctx or of the directory. The changes
// begin with the state there is. A directory in which there has never been a server
// tells nothing, so calls wait for the first one as long as their contexts allow.
func (r *directoryResolver) follow(ctx context.Context) {
	for _, err := range r.directory.Changes(ctx) {
		if err != nil {
			if ctx.Err() == nil {
				r.conn.ReportError(err)
			}
			return
		}
		r.update()
	}
}

// update tells of the present state. Nobody in the directory more likely means that
// something is wrong with the directory than with every server at a time, for example
// that all registrations have just been lost and are about to return. So the servers
// that were known last are kept then, and if they are really gone, calls fail anyway.
func (r *directoryResolver) update() {
	var endpoints []resolver.Endpoint
	for _, item := range r.directory.Snapshot().All() {
		if i := item.Value; i.Addr != "" && !i.Draining {
			endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: i.Addr}}})
		}
	}
	if len(endpoints) > 0 {
		// The error would be about what a balancer cannot use; it goes on with what it has.
		_ = r.conn.UpdateState(resolver.State{Endpoints: endpoints})
	}
}

// ResolveNow implements [resolver.Resolver]: what there is to know has been told.
func (r *directoryResolver) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements [resolver.Resolver].
func (r *directoryResolver) Close() {
	r.cancel()
	r.following.Wait()
}
