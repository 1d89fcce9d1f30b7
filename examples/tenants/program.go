package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/watch"
)

// runners is how many products are reconciled at a time.
const runners = 4

// product is a tenant's product: the desired state is under tenant/info/TENANT/rs/NAME, the
// actual state under the same key with "running" for "info". Here the actual state is kept in
// keys too, so that it can be looked at; elsewhere it would be containers or queues.
type product struct {
	Instances int
	Term      lock.Token `json:",omitzero"` // in which it was made so
}

func decode(_ string, value []byte) (p product, err error) { return p, json.Unmarshal(value, &p) }

// tenantsMain would be main in your copy: a controller that stands for election until SIGTERM
// or Ctrl-C. While another leads it keeps up to date, so it can take over at once.
func tenantsMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("tenants", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: after a crash nobody leads for this long")
	pull := fs.Duration("pull", 10*time.Second, "how often all policies are pulled")
	listen := fs.String("listen", "localhost:0", "`address` to which policies are pushed")
	_ = fs.Parse(args) // it exits if it fails
	if *pull <= 0 {
		return fmt.Errorf("-pull %s: must be positive", *pull)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(*endpoints, ","), DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer client.Close()
	start, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	session, err := lease.NewSession(start, client, lease.WithTTL(*ttl), lease.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	defer session.Close(ctx) // with a ctx that is done, too: the next leads at once
	products, err := watch.NewCache(start, client, "tenant/", decode, watch.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	defer products.Close(ctx)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	c := &controller{products: products, policies: &policies{client: client, known: make(map[string]policy)}}
	server := &http.Server{Handler: c.policies, ReadHeaderTimeout: 5 * time.Second}
	defer server.Close()
	go func() { _ = server.Serve(listener) }() // ends with Close
	go c.policies.pullEvery(ctx, *pull)        // ends with ctx
	controllers, err := election.New(session, "tenants")
	if err != nil {
		return err
	}
	slog.Info("ready", "address", listener.Addr().String())
	host, _ := os.Hostname() // shown by "conclave inspect"
	if err = controllers.Run(ctx, host, c.lead); ctx.Err() != nil {
		return nil // told to end, and it has
	}
	return err
}

// controller reconciles products while it leads.
type controller struct {
	products *watch.Cache[product] // desired and actual, at one revision
	policies *policies
}

// lead reconciles until the term ends. It begins with every product, so it finishes whatever
// earlier leaders left undone.
func (c *controller) lead(ctx context.Context, t *election.Term) error {
	slog.Info("leading", "token", t.Token(), "until", t.Deadline())
	see := func(ctx context.Context, key string) error { return c.reconcile(ctx, t, key) }
	return watch.Reconcile(ctx, c.products, see, watch.WithWorkers(runners), watch.WithBackoff(100*time.Millisecond, time.Second))
}

// reconcile brings one product to its desired state. It may be the first call for it, a retry,
// or one call for several changes.
func (c *controller) reconcile(ctx context.Context, t *election.Term, key string) error {
	name := strings.TrimPrefix(strings.TrimPrefix(key, "tenant/info/"), "tenant/running/")
	tenant, _, _ := strings.Cut(name, "/")
	at := c.products.Snapshot()
	wanted, _ := at.Get("tenant/info/" + name) // 0 instances if there is no such key
	is, _ := at.Get("tenant/running/" + name)
	n := wanted.Value.Instances
	if err := errors.Join(wanted.Err, is.Err); err != nil || n == is.Value.Instances {
		return err
	}
	op := clientv3.OpDelete("tenant/running/" + name)
	if n > 0 {
		p, err := c.policies.of(ctx, tenant)
		if err != nil {
			return err
		}
		if n > p.Limit {
			return fmt.Errorf("%d wanted, %d allowed by version %d", n, p.Limit, p.Version)
		}
		value, err := json.Marshal(product{n, t.Token()})
		if err != nil {
			return err
		}
		op = clientv3.OpPut("tenant/running/"+name, string(value))
	}
	// There are two conditions: that nothing has changed since the snapshot, and, by Txn, that
	// the term is not over, so a leader that was paused cannot undo what the next has done. If the
	// first fails, the change we missed triggers another reconcile.
	same := clientv3.Compare(clientv3.ModRevision("tenant/running/"+name), "=", is.ModRevision)
	_, err := t.Txn(ctx).If(same).Then(op).Commit()
	return err
}
