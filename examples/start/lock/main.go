// Command lock writes a report once a minute, in one process at a time. Start several:
// one works, the others stand by.
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
	"github.com/conclave-go/conclave/lock"
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

	mutex, err := lock.NewMutex(session, "reports/minute")
	if err != nil {
		return err
	}
	return mutex.Run(ctx, func(ctx context.Context, h *lock.Hold) error {
		slog.Info("holding", "token", h.Token())
		for ctx.Err() == nil {
			_, err := h.Txn(ctx).Then(clientv3.OpPut("reports/last", time.Now().Format(time.RFC3339))).Commit()
			if err != nil {
				slog.Warn("not written", "error", err) // perhaps a member is gone; the lock may still be held
			}
			select {
			case <-time.After(time.Minute):
			case <-ctx.Done():
			}
		}
		return nil
	})
}
