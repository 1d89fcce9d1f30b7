package election_test

import (
	"context"
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
