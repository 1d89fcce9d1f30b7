package election_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
)

// A leader that hands work on says until when it may speak as the leader, and hears of
// the end of its term.
func ExampleTerm_Deadline() {
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
	fmt.Println("leads:", term.Err() == nil, time.Now().Before(term.Deadline()), term.Remaining() > 0)

	if err := term.Resign(ctx); err != nil {
		panic(err)
	}
	<-term.Context().Done()
	fmt.Println("leads:", term.Err() == nil, time.Now().Before(term.Deadline()), term.Remaining() > 0)
	fmt.Println("because:", context.Cause(term.Context()))
	// Output:
	// leads: true true true
	// leads: false false false
	// because: election: resigned
}

// A guard is for a transaction that something else commits. Others need Txn only.
func ExampleTerm_Guard() {
	ctx := context.Background()
	session, client, stop := exampleSession(ctx)
	defer stop()
	e, err := election.New(session, "scheduler")
	if err != nil {
		panic(err)
	}
	term, err := e.Campaign(ctx, "10.0.0.7")
	if err != nil {
		panic(err)
	}
	write := func() bool {
		resp, err := client.Txn(ctx).If(term.Guard()...).Then(clientv3.OpPut("jobs/1", "10.0.0.7")).Commit()
		if err != nil {
			panic(err)
		}
		return resp.Succeeded
	}
	fmt.Println("as the leader:", write())
	if err := term.Resign(ctx); err != nil {
		panic(err)
	}
	fmt.Println("afterwards:", write())
	// Output:
	// as the leader: true
	// afterwards: false
}

// A program that has little time to shut down does not wait long for etcd to confirm
// that it has resigned. That goes on in the background, as long as the session lives.
func ExampleWithGracePeriod() {
	session, client, stop := exampleSession(context.Background())
	defer stop()
	e, err := election.New(session, "scheduler", election.WithGracePeriod(time.Second))
	if err != nil {
		panic(err)
	}
	ctx, shutDown := context.WithCancel(context.Background())
	err = e.Run(ctx, "10.0.0.7", func(ctx context.Context, _ *election.Term) error {
		shutDown()
		<-ctx.Done()
		return nil
	})
	fmt.Println("shut down:", errors.Is(err, context.Canceled))
	leader, err := election.Current(context.Background(), client, "scheduler")
	fmt.Println("led by somebody:", leader.Exists(), err)
	// Output:
	// shut down: true
	// led by somebody: false <nil>
}

// How long somebody has waited to lead.
func ExampleCandidate_Age() {
	ctx := context.Background()
	session, client, stop := exampleSession(ctx)
	defer stop()
	e, err := election.New(session, "scheduler")
	if err != nil {
		panic(err)
	}
	if _, err := e.Campaign(ctx, "10.0.0.7"); err != nil {
		panic(err)
	}
	all, err := election.Candidates(ctx, client, "scheduler")
	if err != nil {
		panic(err)
	}
	for _, c := range all {
		fmt.Println(c.Value, "leads:", c.Leads(), "for long:", c.Age(time.Now()) > time.Hour)
	}
	// Output: 10.0.0.7 leads: true for long: false
}
