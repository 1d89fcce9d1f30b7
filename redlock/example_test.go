package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// exampleClients connects to Redis servers of their own. Programs call redis.NewClient.
func exampleClients(n int) (clients []redis.UniversalClient, stop func()) {
	cluster, err := redistest.StartEmbedded(n)
	if err != nil {
		panic(err)
	}
	for _, node := range cluster.Nodes() {
		clients = append(clients, redis.NewClient(&redis.Options{Addr: node.Addr(), ContextTimeoutEnabled: true}))
	}
	return clients, func() {
		for _, c := range clients {
			_ = c.Close()
		}
		_ = cluster.Close()
	}
}

// exampleMutex returns a mutex on three nodes.
func exampleMutex() (mutex *redlock.Mutex, stop func()) {
	clients, stopClients := exampleClients(3)
	nodes, err := redlock.NewNodes(clients, redlock.WithNodeTimeout(redlock.DefaultTTL/3))
	if err != nil {
		panic(err)
	}
	mutex, err = redlock.NewMutex(nodes, "reports/nightly")
	if err != nil {
		panic(err)
	}
	return mutex, func() {
		_ = nodes.Close(context.Background())
		stopClients()
	}
}

func ExampleMutex() {
	ctx := context.Background()
	clients, stop := exampleClients(3) // one is the plain lock
	defer stop()

	nodes, err := redlock.NewNodes(clients, redlock.WithNodeTimeout(redlock.DefaultTTL/3))
	if err != nil {
		panic(err)
	}
	defer func() { _ = nodes.Close(ctx) }()
	mutex, err := redlock.NewMutex(nodes, "reports/nightly")
	if err != nil {
		panic(err)
	}
	err = mutex.Do(ctx, func(ctx context.Context, h *redlock.Hold) error {
		fmt.Println("held; ctx ends if the lock is lost")
		return nil
	})
	fmt.Println(err)
	// Output:
	// held; ctx ends if the lock is lost
	// <nil>
}

func ExampleNewNodes() {
	clients, stop := exampleClients(2)
	defer stop()
	_, err := redlock.NewNodes(clients)
	fmt.Println(err)
	_, err = redlock.NewNodes(clients[:1], redlock.WithTTL(time.Second), redlock.WithNodeTimeout(time.Second))
	fmt.Println(err)
	// Output:
	// redlock: two clients: must be one, or three or more: a majority of two is both
	// redlock: node timeout 1s: must be at most a third of the TTL 1s
}

// Lock and Unlock are for holds that outlive a function. The hold's context is done
// when it ends; so is everything that was derived by With.
func ExampleMutex_Lock() {
	ctx := context.Background()
	mutex, stop := exampleMutex()
	defer stop()

	hold, err := mutex.Lock(ctx)
	if err != nil {
		panic(err)
	}
	work, cancel := hold.With(ctx)
	defer cancel()
	fmt.Println("at work:", work.Err())

	fmt.Println("unlocked:", hold.Unlock(ctx))
	<-work.Done()
	fmt.Println("over:", context.Cause(work))
	// Output:
	// at work: <nil>
	// unlocked: <nil>
	// over: redlock: released
}

func ExampleMutex_TryLock() {
	ctx := context.Background()
	mutex, stop := exampleMutex()
	defer stop()

	hold, err := mutex.TryLock(ctx)
	if err != nil {
		panic(err)
	}
	defer func() { _ = hold.Unlock(ctx) }()

	_, err = mutex.TryLock(ctx)
	if locked, ok := errors.AsType[*redlock.LockedError](err); ok {
		fmt.Println(locked.Name, "is locked, for at most 10s:", locked.Remaining <= redlock.DefaultTTL+time.Second)
	}
	fmt.Println(errors.Is(err, redlock.ErrLocked))
	// Output:
	// reports/nightly is locked, for at most 10s: true
	// true
}

func ExampleMutex_TryDo() {
	ctx := context.Background()
	mutex, stop := exampleMutex()
	defer stop()

	err := mutex.TryDo(ctx, func(ctx context.Context, _ *redlock.Hold) error {
		return mutex.TryDo(ctx, func(context.Context, *redlock.Hold) error {
			fmt.Println("never")
			return nil
		})
	})
	fmt.Println(errors.Is(err, redlock.ErrLocked))
	// Output: true
}

// A holder may extend by itself, before something that takes long.
func ExampleHold_Extend() {
	ctx := context.Background()
	clients, stop := exampleClients(3)
	defer stop()
	nodes, err := redlock.NewNodes(clients, redlock.WithTTL(time.Minute), redlock.WithNodeTimeout(redlock.DefaultTTL/3))
	if err != nil {
		panic(err)
	}
	defer func() { _ = nodes.Close(ctx) }()
	mutex, err := redlock.NewMutex(nodes, "reports/nightly", redlock.WithoutRenewal())
	if err != nil {
		panic(err)
	}
	hold, err := mutex.Lock(ctx)
	if err != nil {
		panic(err)
	}
	before := hold.Deadline()
	fmt.Println(hold.Extend(ctx), hold.Deadline().After(before))

	fmt.Println(hold.Unlock(ctx))
	fmt.Println(hold.Extend(ctx))
	// Output:
	// <nil> true
	// <nil>
	// redlock: released
}
