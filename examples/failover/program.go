package main

import (
	"cmp"
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
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
)

// candidate is one process of a service that has a leader.
type candidate struct {
	client *clientv3.Client
	leader atomic.Value // the election.Leader that an observer sees
	wishes chan wish
}

// wish asks the leader to resign in favour of a candidate, or of the next one if to is empty.
type wish struct {
	to    string
	reply chan error
}

// failoverMain would be main in your copy: a candidate until SIGTERM or Ctrl-C.
func failoverMain(ctx context.Context, args []string) error {
	host, _ := os.Hostname()
	fs := flag.NewFlagSet("failover", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: after a crash nobody leads for this long")
	name := fs.String("name", host, "`name` of the candidate")
	listen := fs.String("listen", "localhost:0", "`address` at which to ask who leads (GET /), and the leader to resign (POST /resign?to=name)")
	_ = fs.Parse(args) // it exits if it fails
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
	service, err := election.New(session, "failover", election.WithOwner(*name))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	c := &candidate{client: client, wishes: make(chan wish)}
	server := &http.Server{Handler: c.handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer server.Close()
	go c.observe(ctx)
	for ctx.Err() == nil { // again when it has resigned; after a loss Run does that by itself
		slog.Info("waiting", "address", listener.Addr().String())
		if err := service.Run(ctx, listener.Addr().String(), c.lead); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil // told to end, and it has
}

// lead works until ctx ends with the term, or until it is asked to resign.
func (c *candidate) lead(ctx context.Context, t *election.Term) error {
	for tick := time.Tick(100 * time.Millisecond); ctx.Err() == nil; {
		slog.Info("leading", "token", t.Token(), "until", t.Deadline())
		select { // your work goes here
		case <-tick:
		case <-ctx.Done(): // work that continues is harmless: none of it will be written
		case w := <-c.wishes:
			err := c.resign(ctx, t, w.to)
			if w.reply <- err; err == nil {
				return nil
			}
		}
		// However late this arrives, etcd rejects it if somebody else leads by then.
		if _, err := t.Txn(ctx).Then(clientv3.OpPut("failover/work", t.Token().String())).Commit(); err != nil {
			slog.Warn("not written", "error", err)
		}
	}
	slog.Info("stopped", "token", t.Token(), "lost", t.Err())
	return nil
}

// resign transfers the term to the named candidate, skipping everybody ahead of it; if none is
// named, Run resigns. If it returns an error, the term continues.
func (c *candidate) resign(ctx context.Context, t *election.Term, to string) error {
	all, err := election.Candidates(ctx, c.client, "failover")
	i := slices.IndexFunc(all, func(x election.Candidate) bool { return x.Owner == to && !x.Leads() })
	if to != "" && i < 0 {
		return cmp.Or(err, fmt.Errorf("no candidate is called %q", to))
	}
	slog.Info("stopped", "token", t.Token()) // before the next can be elected
	if to == "" {
		return nil
	}
	if err = t.Transfer(ctx, all[i]); t.Err() == nil {
		return err
	}
	return nil
}

// observe tracks the leader until ctx ends or etcd refuses.
func (c *candidate) observe(ctx context.Context) {
	for leader, err := range election.Observe(ctx, c.client, "failover") {
		if slog.Info("observed", "leader", leader.Owner, "error", err); err == nil {
			c.leader.Store(leader)
		}
	}
}

// handler answers who leads, and passes wishes on.
func (c *candidate) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(c.leader.Load()) })
	mux.HandleFunc("POST /resign", func(w http.ResponseWriter, r *http.Request) {
		asked, err := wish{r.FormValue("to"), make(chan error, 1)}, errors.New("it does not lead")
		select {
		case c.wishes <- asked:
			err = <-asked.reply
		case <-time.After(time.Second):
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	return mux
}
