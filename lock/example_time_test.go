package lock_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/lock"
)

// Something that cannot be called back gets the time until which the lock is certain,
// even if no renewal succeeds any more.
func ExampleHold_Deadline() {
	ctx := context.Background()
	mutex, _, stop := exampleMutex("reports/nightly")
	defer stop()
	hold, err := mutex.Lock(ctx)
	if err != nil {
		panic(err)
	}
	request, cancel := context.WithDeadline(ctx, hold.Deadline())
	defer cancel()
	fmt.Println("time to send it:", request.Err() == nil)

	if err := hold.Unlock(ctx); err != nil {
		panic(err)
	}
	fmt.Println("in the past:", !hold.Deadline().After(time.Now()))
	// Output:
	// time to send it: true
	// in the past: true
}

// A reader that does not wait for a writer.
func ExampleRWMutex_TryRDo() {
	ctx := context.Background()
	session, _, stop := exampleSession()
	defer stop()
	catalogue, err := lock.NewRWMutex(session, "catalogue")
	if err != nil {
		panic(err)
	}
	read := func(context.Context, *lock.Hold) error {
		fmt.Println("reading")
		return nil
	}
	fmt.Println(catalogue.TryRDo(ctx, read))
	err = catalogue.TryDo(ctx, func(ctx context.Context, _ *lock.Hold) error {
		return catalogue.TryRDo(ctx, read)
	})
	fmt.Println("somebody writes:", errors.Is(err, lock.ErrLocked))
	// Output:
	// reading
	// <nil>
	// somebody writes: true
}

// What a resource has to store if it outlives the process.
func ExampleFence_Highest() {
	var fence lock.Fence
	token, _ := lock.ParseToken("1042.3")
	fmt.Println("of nobody:", fence.Highest() == 0)
	fmt.Println(fence.Check(token))
	fmt.Println("to store:", fence.Highest())
	// Output:
	// of nobody: true
	// <nil>
	// to store: 1042.3
}
