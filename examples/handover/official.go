package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// officialMain is handoverMain with etcd's own lock, to compare. With that lock, the program
// itself has to open a new session when one has ended, and to guard its writes.
func officialMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("official", flag.ExitOnError)
	endpoints := fs.String("endpoints", "", "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", time.Minute, "TTL of the lease")
	_ = fs.String("name", "", "`name`, which this lock cannot store")
	hold := fs.Duration("hold", 10*time.Millisecond, "how long a turn takes")
	_ = fs.Parse(args)      // it exits if it fails
	if *ttl < time.Second { // the library would take etcd's default instead
		return fmt.Errorf("-ttl %s: must be at least 1s", *ttl)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(*endpoints, ","), DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer client.Close()
	for ctx.Err() == nil {
		// No context here: the session would end with it, and Close would then not revoke the
		// lease.
		session, err := concurrency.NewSession(client, concurrency.WithTTL(int(*ttl/time.Second)))
		if err != nil {
			return err
		}
		for err == nil && ctx.Err() == nil {
			err = officialTurn(ctx, session, *hold)
		}
		if ctx.Err() == nil {
			slog.Warn("to be tried again", "error", err)
		}
		_ = session.Close() // it fails if the lease has expired
	}
	return nil
}

// officialTurn waits for the lock, counts and unlocks.
func officialTurn(ctx context.Context, session *concurrency.Session, hold time.Duration) error {
	slog.Info("waiting", "key", fmt.Sprintf("handover/official/%x", session.Lease()))
	mutex := concurrency.NewMutex(session, "handover/official")
	if err := mutex.Lock(ctx); err != nil {
		return err
	}
	token := strconv.FormatInt(mutex.Header().Revision, 10) // it rises from holder to holder
	slog.Info("holding", "token", token)
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	ends := context.AfterFunc(session.Ctx(), cancel)
	defer ends()
	for over := time.Now().Add(hold); within.Err() == nil && time.Now().Before(over); {
		if err := officialCount(within, session.Client(), mutex, token, min(hold, 100*time.Millisecond)); err != nil {
			slog.Warn("not written", "error", err)
		}
	}
	if session.Ctx().Err() != nil {
		slog.Info("stopped", "token", token, "lost", "session done")
		return concurrency.ErrSessionExpired
	}
	slog.Info("stopped", "token", token)
	unlocking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	return mutex.Unlock(unlocking)
}

// officialCount is what count does, with the other lock's guard.
func officialCount(ctx context.Context, client *clientv3.Client, mutex *concurrency.Mutex, token string, work time.Duration) error {
	resp, err := client.Get(ctx, "handover/count")
	select {
	case <-time.After(work):
	case <-ctx.Done():
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
	done, err := client.Txn(ctx).If(mutex.IsOwner(), clientv3.Compare(clientv3.ModRevision("handover/count"), "=", read)).
		Then(clientv3.OpPut("handover/count", fmt.Sprintf("%d with token %s", n+1, token))).Commit()
	if err == nil && !done.Succeeded {
		return errors.New("refused")
	}
	return err
}
