package election_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
)

// A leader that is not well steps down and lets another lead.
func ExampleWithHealthCheck() {
	ctx := context.Background()
	session, _, stop := exampleSession(ctx)
	defer stop()
	var broken atomic.Bool
	e, err := election.New(session, "scheduler",
		election.WithHealthCheck(time.Millisecond, time.Minute, func(context.Context) error {
			if broken.CompareAndSwap(true, false) { // for once
				return errors.New("the disk is full")
			}
			return nil
		}))
	if err != nil {
		panic(err)
	}
	terms := 0
	err = e.Run(ctx, "10.0.0.7", func(ctx context.Context, _ *election.Term) error {
		if terms++; terms == 1 {
			broken.Store(true)
			<-ctx.Done()
			fmt.Println(errors.Is(context.Cause(ctx), election.ErrUnhealthy))
		}
		return nil
	})
	fmt.Println(terms, "terms:", err)
	// Output:
	// true
	// 2 terms: <nil>
}

// A leader that fails comes back after a pause, which another may use.
func ExampleWithRetry() {
	ctx := context.Background()
	session, _, stop := exampleSession(ctx)
	defer stop()
	e, err := election.New(session, "scheduler", election.WithRetry(10*time.Millisecond, time.Minute))
	if err != nil {
		panic(err)
	}
	terms := 0
	err = e.Run(ctx, "10.0.0.7", func(context.Context, *election.Term) error {
		if terms++; terms < 3 {
			return errors.New("the database does not answer")
		}
		return nil
	})
	fmt.Println(terms, "terms:", err)
	// Output: 3 terms: <nil>
}

// A candidate that always fails stays out of the election for a while, so that it does
// not take turns away from those that work.
func ExampleWithMaxTerms() {
	session, _, stop := exampleSession(context.Background())
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e, err := election.New(session, "scheduler",
		election.WithRetry(time.Millisecond, time.Millisecond), election.WithMaxTerms(2, time.Hour))
	if err != nil {
		panic(err)
	}
	terms := 0
	err = e.Run(ctx, "10.0.0.7", func(context.Context, *election.Term) error {
		if terms++; terms == 2 {
			time.AfterFunc(100*time.Millisecond, cancel) // enough for an example
		}
		return errors.New("the database does not answer")
	})
	fmt.Println(terms, "terms, then none:", errors.Is(err, context.Canceled))
	// Output: 2 terms, then none: true
}

// Whatever a leader writes to etcd is safe from its successor's point of view.
func ExampleTerm_Txn() {
	ctx := context.Background()
	session, _, stop := exampleSession(ctx)
	defer stop()
	e, err := election.New(session, "scheduler")
	if err != nil {
		panic(err)
	}
	term, err := e.Campaign(ctx, "10.0.0.7")
	if err != nil {
		panic(err)
	}
	resp, err := term.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision("jobs/1"), "=", 0)).
		Then(clientv3.OpPut("jobs/1", term.Token().String())).
		Commit()
	fmt.Println(resp.Succeeded, err)
	fmt.Println(term.Resign(ctx))
	_, err = term.Txn(ctx).Then(clientv3.OpPut("jobs/2", "")).Commit()
	fmt.Println(err)
	// Output:
	// true <nil>
	// <nil>
	// election: resigned
}
