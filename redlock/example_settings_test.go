package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/conclave-go/conclave/redlock"
)

// Several programs share the servers: each has its own prefix, and the name of a lock
// stays what it was.
func ExampleWithKeyPrefix() {
	ctx := context.Background()
	clients, stop := exampleClients(1)
	defer stop()
	nodes, err := redlock.NewNodes(clients, redlock.WithKeyPrefix("billing:"), redlock.WithNodeTimeout(redlock.DefaultTTL/3))
	if err != nil {
		panic(err)
	}
	defer func() { _ = nodes.Close(ctx) }()
	mutex, err := redlock.NewMutex(nodes, "reports/nightly")
	if err != nil {
		panic(err)
	}
	err = mutex.Do(ctx, func(ctx context.Context, h *redlock.Hold) error {
		keys, err := clients[0].Keys(ctx, "*").Result()
		fmt.Println(h.Name(), keys)
		return err
	})
	fmt.Println(err)
	// Output:
	// reports/nightly [billing:reports/nightly]
	// <nil>
}

// Where clocks are not to be relied on, a larger allowance ends holds sooner.
func ExampleWithDrift() {
	ctx := context.Background()
	clients, stop := exampleClients(1)
	defer stop()
	nodes, err := redlock.NewNodes(clients, redlock.WithTTL(time.Minute), redlock.WithDrift(0.2), redlock.WithNodeTimeout(redlock.DefaultTTL/3))
	if err != nil {
		panic(err)
	}
	defer func() { _ = nodes.Close(ctx) }()
	mutex, err := redlock.NewMutex(nodes, "reports/nightly")
	if err != nil {
		panic(err)
	}
	err = mutex.Do(ctx, func(_ context.Context, h *redlock.Hold) error {
		fmt.Println("a fifth less than a minute:", h.Remaining() <= 48*time.Second)
		return nil
	})
	fmt.Println(err)
	// Output:
	// a fifth less than a minute: true
	// <nil>
}

// Losses are reported at Warn.
func ExampleWithLogger() {
	ctx := context.Background()
	clients, stop := exampleClients(1)
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	nodes, err := redlock.NewNodes(clients, redlock.WithNodeTimeout(redlock.DefaultTTL/3), redlock.WithLogger(logger))
	if err != nil {
		panic(err)
	}
	mutex, err := redlock.NewMutex(nodes, "reports/nightly")
	if err != nil {
		panic(err)
	}
	if _, err := mutex.Lock(ctx); err != nil {
		panic(err)
	}
	fmt.Println(nodes.Close(ctx)) // with a hold that nobody has unlocked
	// Output:
	// level=WARN msg="redlock: lost" name=reports/nightly cause="redlock: nodes are closed"
	// <nil>
}

// An observer is what metrics are made of: also of nodes that do not do their part
// while the others are a quorum.
func ExampleWithObserver() {
	ctx := context.Background()
	clients, stop := exampleClients(3)
	defer stop()
	failed := make(chan redlock.NodeFailure, 10)
	nodes, err := redlock.NewNodes(clients, redlock.WithNodeTimeout(redlock.DefaultTTL/3), redlock.WithObserver(redlock.Observer{
		Granted:    func(e redlock.Event) { fmt.Println("granted", e.Name) },
		Released:   func(e redlock.Event) { fmt.Println("released", e.Name, e.Err) },
		NodeFailed: func(f redlock.NodeFailure) { failed <- f },
	}))
	if err != nil {
		panic(err)
	}
	defer func() { _ = nodes.Close(ctx) }()
	mutex, err := redlock.NewMutex(nodes, "reports/nightly")
	if err != nil {
		panic(err)
	}
	if err := clients[2].Close(); err != nil { // stands for a server that is down
		panic(err)
	}
	if err := mutex.Do(ctx, func(context.Context, *redlock.Hold) error {
		failure := <-failed
		fmt.Println(failure.Op, failure.State, errors.Is(failure.Err, context.Canceled))
		return nil
	}); err != nil {
		panic(err)
	}
	// Output:
	// granted reports/nightly
	// acquire failed false
	// released reports/nightly <nil>
}
