// Command command runs another command under a lock: go run . NAME COMMAND [ARG...]
package main

import (
	"context"
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

func main() {
	endpoints := flag.String("endpoints", "localhost:2379", "etcd's client addresses, separated by commas")
	flag.Parse()
	if flag.NArg() < 2 {
		fmt.Fprintln(os.Stderr, "usage: command [-endpoints E] NAME COMMAND [ARG...]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, strings.Split(*endpoints, ","), flag.Arg(0), flag.Args()[1:]); err != nil {
		slog.Error("not done", "error", err) // also if it was told to stop first
		os.Exit(1)
	}
}

func run(ctx context.Context, endpoints []string, name string, command []string) error {
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

	mutex, err := lock.NewMutex(session, name)
	if err != nil {
		return err
	}
	return mutex.Do(ctx, func(ctx context.Context, h *lock.Hold) error {
		child := exec.CommandContext(ctx, command[0], command[1:]...) // ends with the hold
		child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
		child.Env = append(os.Environ(), "LOCK_TOKEN="+h.Token().String())
		child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) }
		child.WaitDelay = 2 * time.Second // then SIGKILL
		return child.Run()
	})
}
