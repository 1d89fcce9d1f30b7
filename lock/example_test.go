package lock_test

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// exampleClient connects to an etcd of its own. Programs call clientv3.New.
func exampleClient() (client *clientv3.Client, stop func()) {
	cluster, err := etcdtest.Start(context.Background())
	if err != nil {
		panic(err)
	}
	client, err = cluster.NewClient()
	if err != nil {
		panic(err)
	}
	return client, func() {
		_ = client.Close()
		_ = cluster.Close()
	}
}

func ExampleMutex() {
	ctx := context.Background()
	client, stop := exampleClient()
	defer stop()

	session, err := lease.NewSession(ctx, client)
	if err != nil {
		panic(err)
	}
	defer func() { _ = session.Close(ctx) }()
	mutex, err := lock.NewMutex(session, "reports/nightly")
	if err != nil {
		panic(err)
	}
	err = mutex.Do(ctx, func(ctx context.Context, h *lock.Hold) error {
		fmt.Println("held; ctx ends if the lock is lost")
		return nil
	})
	fmt.Println(err)
	// Output:
	// held; ctx ends if the lock is lost
	// <nil>
}

// exampleMutex returns a mutex of a session of its own.
func exampleMutex(name string) (mutex *lock.Mutex, client *clientv3.Client, stop func()) {
	client, stopClient := exampleClient()
	session, err := lease.NewSession(context.Background(), client)
	if err != nil {
		panic(err)
	}
	mutex, err = lock.NewMutex(session, name, lock.WithOwner("worker-7"))
	if err != nil {
		panic(err)
	}
	return mutex, client, func() {
		_ = session.Close(context.Background())
		stopClient()
	}
}

// Lock and Unlock are for holds that outlive a function. The hold's context is done
// when it ends; so is everything that was derived by With.
func ExampleMutex_Lock() {
	ctx := context.Background()
	mutex, _, stop := exampleMutex("reports/nightly")
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
	// over: lock: released
}

func ExampleMutex_TryLock() {
	ctx := context.Background()
	mutex, _, stop := exampleMutex("reports/nightly")
	defer stop()

	hold, err := mutex.TryLock(ctx)
	if err != nil {
		panic(err)
	}
	defer func() { _ = hold.Unlock(ctx) }()

	_, err = mutex.TryLock(ctx)
	if locked, ok := errors.AsType[*lock.LockedError](err); ok {
		fmt.Println(locked.Name, "is locked by", locked.Owner)
	}
	fmt.Println(errors.Is(err, lock.ErrLocked))
	// Output:
	// reports/nightly is locked by worker-7
	// true
}

func ExampleMutex_TryDo() {
	ctx := context.Background()
	mutex, _, stop := exampleMutex("reports/nightly")
	defer stop()

	err := mutex.TryDo(ctx, func(ctx context.Context, _ *lock.Hold) error {
		return mutex.TryDo(ctx, func(context.Context, *lock.Hold) error {
			fmt.Println("never")
			return nil
		})
	})
	fmt.Println(errors.Is(err, lock.ErrLocked))
	// Output: true
}

// A transaction of the hold's takes effect only while the lock is held, whatever the
// holder's clock says.
func ExampleHold_Txn() {
	ctx := context.Background()
	mutex, client, stop := exampleMutex("accounts/7")
	defer stop()
	hold, err := mutex.Lock(ctx)
	if err != nil {
		panic(err)
	}

	_, err = hold.Txn(ctx).Then(clientv3.OpPut("accounts/7/balance", "100")).Commit()
	fmt.Println(err)

	// An operator intervenes, and the holder has not noticed.
	if _, err := client.Delete(ctx, hold.Key()); err != nil {
		panic(err)
	}
	_, err = hold.Txn(ctx).Then(clientv3.OpPut("accounts/7/balance", "200")).Commit()
	fmt.Println(errors.Is(err, lock.ErrLost))
	// Output:
	// <nil>
	// true
}

// A Fence stands before a resource that this process guards.
func ExampleFence() {
	var fence lock.Fence
	write := func(token lock.Token) error {
		return fence.Do(token, func() error { return nil })
	}
	older, _ := lock.ParseToken("1042")
	newer, _ := lock.ParseToken("1044")
	fmt.Println(write(older))
	fmt.Println(write(newer))
	fmt.Println(write(older))
	// Output:
	// <nil>
	// <nil>
	// lock: token 1042 is stale: 1044 has been seen
}

func ExampleInspect() {
	ctx := context.Background()
	mutex, client, stop := exampleMutex("reports/nightly")
	defer stop()
	hold, err := mutex.Lock(ctx)
	if err != nil {
		panic(err)
	}
	defer func() { _ = hold.Unlock(ctx) }()

	entries, err := lock.Inspect(ctx, client, "reports/nightly")
	for _, e := range entries {
		fmt.Println(e.Position, e.Owner, e.Held(), e.Token == hold.Token())
	}
	fmt.Println(err)
	// Output:
	// 0 worker-7 true true
	// <nil>
}

func ExampleToken() {
	token, err := lock.ParseToken("1042.3")
	fmt.Println(token.Revision(), token.Sequence(), err)
	fmt.Println(token)
	// Output:
	// 1042 3 <nil>
	// 1042.3
}
