// Command register keeps this process's address in etcd, and knows those of the others.
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

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/watch"
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

	host, err := os.Hostname()
	if err != nil {
		return err
	}
	registration, err := lease.Register(start, session, "services/api/"+host, host+":8080")
	if err != nil {
		return err
	}
	defer registration.Close(ctx)

	address := func(_ string, value []byte) (string, error) { return string(value), nil }
	peers, err := watch.NewCache(start, client, "services/api/", address)
	if err != nil {
		return err
	}
	defer peers.Close(ctx)
	for change, err := range peers.Changes(ctx) {
		if err != nil {
			return err
		}
		slog.Info("changed", "key", change.Key, "peers", peers.Snapshot().Len())
	}
	return nil
}
