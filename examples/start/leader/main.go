// Command leader schedules work in one process at a time, the leader. The others stand
// by, and know who leads.
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

func main() {
	endpoints := flag.String("endpoints", "localhost:2379", "etcd's client addresses, separated by commas")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, strings.Split(*endpoints, ",")); err != nil && ctx.Err() == nil {
		slog.Error("stopped", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, endpoints []string) error {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
	})
	if err != nil {
		return err
	}
	defer client.Close()

	start, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	session, err := lease.NewSession(start, client, lease.WithLogger(slog.Default()))
	if err != nil {
		return err
	}
	defer session.Close(ctx)

	scheduler, err := election.New(session, "scheduler")
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	go follow(ctx, client) // ends with ctx
	return scheduler.Run(ctx, host, schedule)
}

// schedule works until ctx ends with the term.
func schedule(ctx context.Context, t *election.Term) error {
	slog.Info("leading", "token", t.Token())
	<-ctx.Done()
	return nil
}

// follow logs who leads, as it changes.
func follow(ctx context.Context, client *clientv3.Client) {
	for leader, err := range election.Observe(ctx, client, "scheduler") {
		if err != nil {
			slog.Info("not following any more", "error", err)
			return
		}
		slog.Info("following", "leader", leader.Value, "exists", leader.Exists())
	}
}
