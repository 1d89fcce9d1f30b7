package lock_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/lock"
)

// Do says so when the lock was lost meanwhile, even if the function has not noticed.
func ExampleMutex_Do() {
	ctx := context.Background()
	mutex, client, stop := exampleMutex("reports/nightly")
	defer stop()

	err := mutex.Do(ctx, func(ctx context.Context, h *lock.Hold) error {
		_, err := client.Delete(ctx, h.Key()) // an operator intervenes
		return err
	})
	fmt.Println(errors.Is(err, lock.ErrLost))
	// Output: true
}

// While a fleet migrates, some processes use clientv3/concurrency or etcdctl lock, and
// stand in the same queue.
func ExampleWithEtcdLayout() {
	ctx := context.Background()
	session, client, stop := exampleSession()
	defer stop()
	old, err := concurrency.NewSession(client)
	if err != nil {
		panic(err)
	}
	defer func() { _ = old.Close() }()
	theirs := concurrency.NewMutex(old, "reports/nightly")
	if err := theirs.Lock(ctx); err != nil {
		panic(err)
	}

	ours, err := lock.NewMutex(session, "reports/nightly", lock.WithEtcdLayout())
	if err != nil {
		panic(err)
	}
	_, err = ours.TryLock(ctx)
	fmt.Println("locked by the other library:", errors.Is(err, lock.ErrLocked))
	if err := theirs.Unlock(ctx); err != nil {
		panic(err)
	}
	hold, err := ours.Lock(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println("unlocked:", hold.Unlock(ctx))
	// Output:
	// locked by the other library: true
	// unlocked: <nil>
}

// A guard is for a transaction that something else commits, or that has the guards of two
// holds.
func ExampleHold_Guard() {
	ctx := context.Background()
	mutex, client, stop := exampleMutex("accounts/7")
	defer stop()
	hold, err := mutex.Lock(ctx)
	if err != nil {
		panic(err)
	}
	write := func() bool {
		resp, err := client.Txn(ctx).If(hold.Guard()...).Then(clientv3.OpPut("accounts/7/balance", "100")).Commit()
		if err != nil {
			panic(err)
		}
		return resp.Succeeded
	}
	fmt.Println("while held:", write())
	if err := hold.Unlock(ctx); err != nil {
		panic(err)
	}
	fmt.Println("afterwards:", write())
	// Output:
	// while held: true
	// afterwards: false
}

// Readers share the lock and exclude writers.
func ExampleRWMutex_RLock() {
	ctx := context.Background()
	session, _, stop := exampleSession()
	defer stop()
	catalogue, err := lock.NewRWMutex(session, "catalogue")
	if err != nil {
		panic(err)
	}
	one, err := catalogue.RLock(ctx)
	if err != nil {
		panic(err)
	}
	another, err := catalogue.RLock(ctx)
	if err != nil {
		panic(err)
	}
	_, err = catalogue.TryLock(ctx)
	fmt.Println("writers wait:", errors.Is(err, lock.ErrLocked))
	fmt.Println(one.Unlock(ctx), another.Unlock(ctx))
	// Output:
	// writers wait: true
	// <nil> <nil>
}

// Acquire waits until there is room for all of what was asked for.
func ExampleSemaphore_Acquire() {
	ctx := context.Background()
	session, _, stop := exampleSession()
	defer stop()
	connections, err := lock.NewSemaphore(session, "database/connections", 10)
	if err != nil {
		panic(err)
	}
	six, err := connections.Acquire(ctx, 6)
	if err != nil {
		panic(err)
	}
	granted := make(chan *lock.Hold)
	go func() {
		five, err := connections.Acquire(ctx, 5)
		if err != nil {
			panic(err)
		}
		granted <- five
	}()
	fmt.Println(six.Unlock(ctx))
	fmt.Println((<-granted).Unlock(ctx))
	// Output:
	// <nil>
	// <nil>
}

// A fence that only checks, for acts that may overlap.
func ExampleFence_Check() {
	var fence lock.Fence
	newer, _ := lock.ParseToken("1044")
	older, _ := lock.ParseToken("1042.3")
	fmt.Println(fence.Check(newer))
	err := fence.Check(older)
	if stale, ok := errors.AsType[*lock.StaleTokenError](err); ok {
		fmt.Println(stale.Token, "is older than", stale.Highest)
	}
	// Output:
	// <nil>
	// 1042.3 is older than 1044
}

// Work that must not outlast the lock asks how much time is left before it begins.
func ExampleHold_Remaining() {
	ctx := context.Background()
	mutex, _, stop := exampleMutex("reports/nightly")
	defer stop()
	hold, err := mutex.Lock(ctx)
	if err != nil {
		panic(err)
	}
	const needed = 2 * time.Second
	fmt.Println("enough time:", hold.Remaining() > needed)
	if err := hold.Unlock(ctx); err != nil {
		panic(err)
	}
	fmt.Println("enough time:", hold.Remaining() > needed)
	// Output:
	// enough time: true
	// enough time: false
}
