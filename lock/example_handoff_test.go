package lock_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// Goroutines of one process hand the lock to each other in memory: all of them share the
// key, and so the revision in the token.
func ExampleWithLocalHandoff() {
	ctx := context.Background()
	client, stop := exampleClient()
	defer stop()
	session, err := lease.NewSession(ctx, client)
	if err != nil {
		panic(err)
	}
	defer func() { _ = session.Close(ctx) }()
	mutex, err := lock.NewMutex(session, "reports/nightly", lock.WithLocalHandoff(100))
	if err != nil {
		panic(err)
	}

	revisions := make(map[int64]bool)
	hold, err := mutex.Lock(ctx)
	if err != nil {
		panic(err)
	}
	revisions[hold.Token().Revision()] = true
	var all sync.WaitGroup
	waiting := make(chan struct{}, 10)
	for range 10 {
		all.Go(func() {
			waiting <- struct{}{}
			_ = mutex.Do(ctx, func(_ context.Context, h *lock.Hold) error {
				revisions[h.Token().Revision()] = true
				return nil
			})
		})
	}
	for range 10 {
		<-waiting
	}
	fmt.Println("unlocked:", hold.Unlock(ctx))
	all.Wait()
	fmt.Println("at most one key for each turn:", len(revisions) <= 10)
	// Output:
	// unlocked: <nil>
	// at most one key for each turn: true
}

// A lock that is used again and again by the same process costs no request while it
// lingers: the key, and its revision in the token, stay the same.
func ExampleWithLinger() {
	ctx := context.Background()
	client, stop := exampleClient()
	defer stop()
	session, err := lease.NewSession(ctx, client)
	if err != nil {
		panic(err)
	}
	defer func() { _ = session.Close(ctx) }()
	mutex, err := lock.NewMutex(session, "reports/nightly", lock.WithLinger(time.Minute))
	if err != nil {
		panic(err)
	}

	var first int64
	for range 3 {
		err := mutex.Do(ctx, func(_ context.Context, h *lock.Hold) error {
			if first == 0 {
				first = h.Token().Revision()
			}
			fmt.Println(h.Token().Revision() == first, h.Token().Sequence())
			return nil
		})
		if err != nil {
			panic(err)
		}
	}
	// Output:
	// true 0
	// true 1
	// true 2
}

// A holder that does not know that it was lost has time to be done before the next is
// granted. After an Unlock nobody waits.
func ExampleWithLockDelay() {
	ctx := context.Background()
	client, stop := exampleClient()
	defer stop()
	session, err := lease.NewSession(ctx, client)
	if err != nil {
		panic(err)
	}
	defer func() { _ = session.Close(ctx) }()
	const delay = time.Second
	mutex, err := lock.NewMutex(session, "reports/nightly", lock.WithLockDelay(delay))
	if err != nil {
		panic(err)
	}
	hold, err := mutex.Lock(ctx)
	if err != nil {
		panic(err)
	}

	// An operator takes the lock away, and the holder has not noticed.
	began := time.Now()
	if _, err := client.Delete(ctx, hold.Key()); err != nil {
		panic(err)
	}
	next, err := mutex.Lock(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println("delayed:", time.Since(began) >= delay)
	fmt.Println("unlocked:", next.Unlock(ctx))
	// Output:
	// delayed: true
	// unlocked: <nil>
}

// Somebody needs the lock, and the holder lets go when it suits.
func ExampleRequestRelease() {
	ctx := context.Background()
	mutex, client, stop := exampleMutex("reports/nightly")
	defer stop()

	hold, err := mutex.Lock(ctx)
	if err != nil {
		panic(err)
	}
	if err := lock.RequestRelease(ctx, client, "reports/nightly"); err != nil {
		panic(err)
	}
	select {
	case <-hold.ReleaseRequested():
		fmt.Println("asked to let go:", hold.Unlock(ctx))
	case <-hold.Context().Done():
		fmt.Println("over:", context.Cause(hold.Context()))
	}
	// Output: asked to let go: <nil>
}
