package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/conclave-go/conclave/conclavegrpc"
	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/watch"
)

// patience is how long anything may take, beyond three TTLs.
const patience = 20 * time.Second

// mostEvents is more than the servers of a run report.
const mostEvents = 1000

// instance is what the registry has of a server.
type instance struct {
	Addr     string
	Metadata metadata
}

// metadata is what a server says of itself.
type metadata struct{ Zone, Version string }

func decode(_ string, value []byte) (i instance, err error) { return i, json.Unmarshal(value, &i) }

// fleet is the servers and what the clients have to find them.
type fleet struct {
	job       job    // of each, but for what start is given
	prefix    string // of the keys of the service
	events    chan event
	failed    context.CancelCauseFunc // called when a server ends that was not asked to
	client    *clientv3.Client
	directory *watch.Cache[instance]
	conn      *grpc.ClientConn
	servers   []*process.Process
}

// openFleet returns one without servers. The caller closes it.
func openFleet(ctx context.Context, failed context.CancelCauseFunc, c *cluster.Cluster, o options) (*fleet, error) {
	client, err := c.Spec().Dial()
	if err != nil {
		return nil, err
	}
	f := &fleet{
		job: job{TTL: o.ttl, Etcd: c.Spec()}, prefix: o.prefix + "servers/",
		events: make(chan event, mostEvents), failed: failed, client: client,
	}
	f.job.Service = strings.TrimSuffix(f.prefix, "/")
	if f.directory, err = watch.NewCache(ctx, client, f.prefix, decode); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	if err = f.connect(); err != nil {
		return nil, errors.Join(err, f.directory.Close(ctx), client.Close())
	}
	return f, nil
}

// connect makes the connection of the callers, which finds its servers in etcd.
func (f *fleet) connect() error {
	builder, err := conclavegrpc.NewBuilder(f.client)
	if err != nil {
		return err
	}
	f.conn, err = grpc.NewClient("etcd:///"+f.job.Service,
		grpc.WithResolvers(builder),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	return err
}

// start starts a server.
func (f *fleet) start(name, zone, version string) error {
	j := f.job
	j.Name, j.Zone, j.Version = name, zone, version
	p, err := process.Start(name, serverRole, j, func(e event) { f.events <- e }, func(detail string) {
		if detail != "" {
			f.failed(errors.New("server " + detail))
		}
	})
	if err == nil {
		f.servers = append(f.servers, p)
	}
	return err
}

// next returns what a server reports next.
func (f *fleet) next(ctx context.Context) (event, error) {
	select {
	case e := <-f.events:
		return e, nil
	case <-ctx.Done():
		return event{}, context.Cause(ctx)
	}
}

// await waits for a report that meets a condition.
func (f *fleet) await(ctx context.Context, what string, cond func(event) bool) (event, error) {
	return workers.Await(ctx, f.next, patience+3*f.job.TTL, what, cond)
}

// awaitKey waits until what the directory has of a server meets a condition. It is
// asked at first, and with each change.
func (f *fleet) awaitKey(
	ctx context.Context, name string, cond func(i watch.Item[instance], exists bool) bool,
) (watch.Item[instance], error) {
	limit := patience + 3*f.job.TTL
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no sign of the change of %s within %s", name, limit))
	defer cancel()
	item, ok := f.directory.Get(f.prefix + name)
	if cond(item, ok) {
		return item, nil
	}
	for _, err := range f.directory.Changes(ctx) {
		if err != nil {
			return item, program.CauseOr(ctx, err)
		}
		if item, ok = f.directory.Get(f.prefix + name); cond(item, ok) {
			break
		}
	}
	return item, nil
}

func isGone(_ watch.Item[instance], exists bool) bool { return !exists }

func isThere(_ watch.Item[instance], exists bool) bool { return exists }

// close lets the servers that are left end in good order and waits for them.
func (f *fleet) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err := workers.Quit(f.servers...)
	return errors.Join(err, f.conn.Close(), f.directory.Close(ctx), f.client.Close())
}
