package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// lockedMain would be main in your copy: it waits for the lock, runs a command under it, and
// ends with the command. SIGTERM and Ctrl-C end the command first, and then it fails.
func lockedMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("locked", flag.ExitOnError)
	endpoints := fs.String("endpoints", os.Getenv("ETCDCTL_ENDPOINTS"), "etcd's client `addresses`, separated by commas")
	ttl := fs.Duration("ttl", lease.DefaultTTL, "TTL of the lease: after a crash the lock stays taken for this long")
	_ = fs.Parse(args) // it exits if it fails
	if fs.NArg() < 2 {
		return errors.New("usage: locked -endpoints ADDRESSES [-ttl 10s] LOCK COMMAND [ARG...]")
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
	defer session.Close(ctx) // with a ctx that is done, too: the next has the lock at once
	mutex, err := lock.NewMutex(session, fs.Arg(0))
	if err != nil {
		return err
	}
	if err = mutex.Do(ctx, func(ctx context.Context, h *lock.Hold) error {
		slog.Info("holding", "token", h.Token(), "until", h.Deadline())
		defer slog.Info("stopped", "token", h.Token())
		command := exec.CommandContext(ctx, fs.Arg(1), fs.Args()[2:]...) // ends with the hold
		command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
		command.Env = append(os.Environ(), "LOCK_TOKEN="+h.Token().String()) // for what it writes to
		command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
		command.WaitDelay = 2 * time.Second // then SIGKILL
		return command.Run()
	}); err != nil { // also if it was told to end before the command had ended
		return fmt.Errorf("not done: %w", err)
	}
	return nil
}
