package main

import (
	"context"
	"flag"
	"fmt"
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

// handoverMain would be main in your copy: it takes turns at one lock with all other copies,
// until SIGTERM or Ctrl-C.
func handoverMain(ctx context.Context, args []string) error {
	host, _ := os.Hostname()
	fs := flag.NewFlagSet("handover", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: after a crash the lock stays taken for this long")
	name := fs.String("name", host, "`name` of this copy, shown by conclave inspect")
	hold := fs.Duration("hold", 10*time.Millisecond, "how long a turn takes")
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
	defer session.Close(ctx) // with a ctx that is done, too: the next has the lock at once
	mutex, err := lock.NewMutex(session, "handover/lock", lock.WithOwner(*name))
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		slog.Info("waiting")
		err := mutex.Do(ctx, func(ctx context.Context, h *lock.Hold) error { return turn(ctx, client, h, *hold) })
		if err != nil && ctx.Err() == nil { // the lock was lost, or etcd refused something
			slog.Warn("to be tried again", "error", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
	return nil // told to end, and it has
}

// turn uses the lock for as long as a turn takes. ctx ends with the lock, or with the program.
func turn(ctx context.Context, client *clientv3.Client, h *lock.Hold, hold time.Duration) error {
	defer func() { slog.Info("stopped", "token", h.Token(), "lost", h.Err()) }()
	for over := time.Now().Add(hold); ctx.Err() == nil && time.Now().Before(over); {
		slog.Info("holding", "token", h.Token(), "until", h.Deadline())
		if err := count(ctx, client, h, min(hold, 100*time.Millisecond)); err != nil {
			slog.Warn("not written", "error", err) // or written without a reply: the next count reads what etcd has
		}
	}
	return nil
}

// count is the work that the lock protects: it reads a number and adds one.
func count(ctx context.Context, client *clientv3.Client, h *lock.Hold, work time.Duration) error {
	resp, err := client.Get(ctx, "handover/count")
	select { // your work goes here
	case <-time.After(work):
	case <-ctx.Done(): // work that continues is harmless: none of it will be written
	}
	if err != nil {
		return err
	}
	n, read := 0, int64(0)
	if len(resp.Kvs) > 0 {
		read = resp.Kvs[0].ModRevision
		if _, err := fmt.Sscan(string(resp.Kvs[0].Value), &n); err != nil {
			return err
		}
	}
	// However late this arrives, etcd rejects it if someone else has the lock by then, or if an
	// earlier attempt whose reply was lost went through.
	_, err = h.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision("handover/count"), "=", read)).
		Then(clientv3.OpPut("handover/count", fmt.Sprintf("%d with token %s", n+1, h.Token()))).Commit()
	return err
}
