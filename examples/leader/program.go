package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
)

// leaderMain would be main in your copy: a candidate until SIGTERM or Ctrl-C.
func leaderMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("leader", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: after a crash nobody leads for this long")
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
	scheduler, err := election.New(session, "scheduler")
	if err != nil {
		return err
	}
	host, _ := os.Hostname() // shown by "conclave inspect"
	if err = scheduler.Run(ctx, host, work); ctx.Err() != nil {
		return nil // told to end, and it has
	}
	return err
}

// work works once a second until ctx ends with the term.
func work(ctx context.Context, t *election.Term) error {
	defer slog.Info("stopped", "token", t.Token())
	for tick := time.Tick(time.Second); ctx.Err() == nil; {
		slog.Info("leading", "token", t.Token(), "until", t.Deadline())
		// However late this arrives, etcd rejects it if somebody else leads by then.
		if _, err := t.Txn(ctx).Then(clientv3.OpPut("scheduler/last", t.Token().String())).Commit(); err != nil {
			slog.Warn("not done", "error", err) // retried in a second, or by the next leader
		}
		select {
		case <-tick:
		case <-ctx.Done():
		}
	}
	return nil
}
