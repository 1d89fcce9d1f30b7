package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/redlock"
)

// Do says so when the lock was lost meanwhile.
func ExampleMutex_Do() {
	ctx := context.Background()
	mutex, stop := exampleMutex()
	defer stop()
	err := mutex.Do(ctx, func(ctx context.Context, h *redlock.Hold) error {
		fmt.Println("held, until the deadline at least:", h.Remaining() > 0)
		return nil
	})
	fmt.Println(err)
	// Output:
	// held, until the deadline at least: true
	// <nil>
}

// When too many nodes do not answer, the error has the state of each.
func ExampleQuorumError() {
	ctx := context.Background()
	clients, stop := exampleClients(3)
	defer stop()
	nodes, err := redlock.NewNodes(clients)
	if err != nil {
		panic(err)
	}
	defer func() { _ = nodes.Close(ctx) }()
	mutex, err := redlock.NewMutex(nodes, "reports/nightly")
	if err != nil {
		panic(err)
	}
	for _, c := range clients[1:] { // stands for servers that are down
		_ = c.Close()
	}
	_, err = mutex.TryLock(ctx)
	if q, ok := errors.AsType[*redlock.QuorumError](err); ok {
		fmt.Println(q.Op, "needs", q.Quorum, "of", len(q.Nodes))
	}
	// Output: acquire needs 2 of 3
}

// A node that has just started may have forgotten what it granted. With a minimum uptime
// it does not vote before that has expired.
func ExampleWithMinUptime() {
	ctx := context.Background()
	clients, stop := exampleClients(3)
	defer stop()
	nodes, err := redlock.NewNodes(clients, redlock.WithMinUptime(redlock.DefaultTTL), redlock.WithNodeTimeout(redlock.DefaultTTL/3))
	if err != nil {
		panic(err)
	}
	defer func() { _ = nodes.Close(ctx) }()
	mutex, err := redlock.NewMutex(nodes, "reports/nightly")
	if err != nil {
		panic(err)
	}
	_, err = mutex.TryLock(ctx)
	young, ok := errors.AsType[*redlock.UptimeError](err)
	fmt.Println(ok && young.Uptime < young.Min)
	// Output: true
}

// Locks for short work may be left to expire by themselves instead of being renewed.
func ExampleWithoutRenewal() {
	ctx := context.Background()
	clients, stop := exampleClients(1)
	defer stop()
	nodes, err := redlock.NewNodes(clients)
	if err != nil {
		panic(err)
	}
	defer func() { _ = nodes.Close(ctx) }()
	mutex, err := redlock.NewMutex(nodes, "reports/nightly", redlock.WithTTL(time.Second), redlock.WithoutRenewal())
	if err != nil {
		panic(err)
	}
	hold, err := mutex.Lock(ctx)
	if err != nil {
		panic(err)
	}
	<-hold.Context().Done()
	fmt.Println(errors.Is(hold.Err(), redlock.ErrLost))
	// Output: true
}
