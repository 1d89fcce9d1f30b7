package lock_test

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// exampleSession returns a session.
func exampleSession() (session *lease.Session, client *clientv3.Client, stop func()) {
	client, stopClient := exampleClient()
	session, err := lease.NewSession(context.Background(), client)
	if err != nil {
		panic(err)
	}
	return session, client, func() {
		_ = session.Close(context.Background())
		stopClient()
	}
}

func ExampleNewRWMutex() {
	ctx := context.Background()
	session, _, stop := exampleSession()
	defer stop()
	catalogue, err := lock.NewRWMutex(session, "catalogue")
	if err != nil {
		panic(err)
	}
	err = catalogue.RDo(ctx, func(ctx context.Context, _ *lock.Hold) error {
		another, err := catalogue.TryRLock(ctx)
		if err != nil {
			return err
		}
		fmt.Println("readers share it")
		if err := another.Unlock(ctx); err != nil {
			return err
		}
		_, err = catalogue.Lock(ctx)
		fmt.Println("a reader cannot become a writer:", errors.Is(err, lock.ErrUpgrade))
		return nil
	})
	fmt.Println(err)
	err = catalogue.Do(ctx, func(ctx context.Context, _ *lock.Hold) error {
		_, err := catalogue.TryRLock(ctx)
		fmt.Println("a writer excludes readers:", errors.Is(err, lock.ErrLocked))
		return nil
	})
	fmt.Println(err)
	// Output:
	// readers share it
	// a reader cannot become a writer: true
	// <nil>
	// a writer excludes readers: true
	// <nil>
}

// A writer lets readers in and goes on reading what it has written, which nobody can
// have changed meanwhile.
func ExampleRWMutex_Downgrade() {
	ctx := context.Background()
	session, _, stop := exampleSession()
	defer stop()
	catalogue, err := lock.NewRWMutex(session, "catalogue")
	if err != nil {
		panic(err)
	}
	write, err := catalogue.Lock(ctx)
	if err != nil {
		panic(err)
	}
	read, err := catalogue.Downgrade(ctx, write)
	if err != nil {
		panic(err)
	}
	defer func() { _ = read.Unlock(ctx) }()
	fmt.Println("for writing:", write.Err())
	fmt.Println("for reading:", read.Err())

	another, err := catalogue.TryRLock(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println("another reader:", another.Unlock(ctx))
	_, err = catalogue.TryLock(ctx)
	fmt.Println("no writer:", errors.Is(err, lock.ErrLocked))
	// Output:
	// for writing: lock: released
	// for reading: <nil>
	// another reader: <nil>
	// no writer: true
}

func ExampleNewSemaphore() {
	ctx := context.Background()
	session, _, stop := exampleSession()
	defer stop()
	connections, err := lock.NewSemaphore(session, "database/connections", 10)
	if err != nil {
		panic(err)
	}
	err = connections.Do(ctx, 8, func(ctx context.Context, _ *lock.Hold) error {
		_, err := connections.TryAcquire(ctx, 3)
		fmt.Println("eight and three are too many:", errors.Is(err, lock.ErrLocked))
		two, err := connections.TryAcquire(ctx, 2)
		if err != nil {
			return err
		}
		fmt.Println("two more")
		return two.Unlock(ctx)
	})
	fmt.Println(err)
	// Output:
	// eight and three are too many: true
	// two more
	// <nil>
}

func ExampleNewMulti() {
	ctx := context.Background()
	session, _, stop := exampleSession()
	defer stop()
	transfer, err := lock.NewMulti(session, []string{"accounts/7", "accounts/12"})
	if err != nil {
		panic(err)
	}
	account, err := lock.NewMutex(session, "accounts/12")
	if err != nil {
		panic(err)
	}
	err = transfer.Do(ctx, func(ctx context.Context, _ *lock.Hold) error {
		_, err := account.TryLock(ctx)
		fmt.Println("each account is locked:", errors.Is(err, lock.ErrLocked))
		return nil
	})
	fmt.Println(err)

	hold, err := account.Lock(ctx)
	if err != nil {
		panic(err)
	}
	defer func() { _ = hold.Unlock(ctx) }()
	_, err = transfer.TryLock(ctx)
	if locked, ok := errors.AsType[*lock.LockedError](err); ok {
		fmt.Println("one is taken:", locked.Name)
	}
	// Output:
	// each account is locked: true
	// <nil>
	// one is taken: accounts/12
}

func ExampleInspect_kinds() {
	ctx := context.Background()
	session, client, stop := exampleSession()
	defer stop()
	mutex, err := lock.NewMutex(session, "jobs", lock.WithOwner("planner"))
	if err != nil {
		panic(err)
	}
	readers, err := lock.NewRWMutex(session, "jobs", lock.WithOwner("reporter"))
	if err != nil {
		panic(err)
	}
	slots, err := lock.NewSemaphore(session, "jobs", 10, lock.WithOwner("worker-7"))
	if err != nil {
		panic(err)
	}
	show := func(ctx context.Context, _ *lock.Hold) error {
		entries, err := lock.Inspect(ctx, client, "jobs")
		for _, e := range entries {
			fmt.Println(e.Mode, e.Owner, e.Held(), e.Weight, "of", e.Permits)
		}
		return err
	}
	err = mutex.Do(ctx, func(ctx context.Context, _ *lock.Hold) error {
		return readers.RDo(ctx, func(ctx context.Context, _ *lock.Hold) error {
			return slots.Do(ctx, 3, show)
		})
	})
	fmt.Println(err)
	// Output:
	// mutex planner true 0 of 0
	// read reporter true 0 of 0
	// semaphore worker-7 true 3 of 10
	// <nil>
}
