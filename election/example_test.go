package election_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

// exampleSession connects to an etcd of its own. Programs call clientv3.New and
// lease.NewSession.
func exampleSession(ctx context.Context) (session *lease.Session, client *clientv3.Client, stop func()) {
	cluster, err := etcdtest.Start(ctx)
	if err != nil {
		panic(err)
	}
	client, err = cluster.NewClient()
	if err != nil {
		panic(err)
	}
	session, err = lease.NewSession(ctx, client)
	if err != nil {
		panic(err)
	}
	return session, client, func() {
		_ = session.Close(ctx)
		_ = client.Close()
		_ = cluster.Close()
	}
}

// exampleWaiting waits until so many candidates stand for election.
func exampleWaiting(ctx context.Context, client *clientv3.Client, name string, n int) []election.Candidate {
	for {
		all, err := election.Candidates(ctx, client, name)
		if err != nil {
			panic(err)
		}
		if len(all) == n {
			return all
		}
	}
}

// A service that one process runs at a time.
func ExampleElection_Run() {
	ctx := context.Background()
	session, _, stop := exampleSession(ctx)
	defer stop()

	e, err := election.New(session, "scheduler")
	if err != nil {
		panic(err)
	}
	err = e.Run(ctx, "http://10.0.0.7:8080", func(ctx context.Context, term *election.Term) error {
		fmt.Println("leading; ctx ends with the term")
		return nil
	})
	fmt.Println(err)
	// Output:
	// leading; ctx ends with the term
	// <nil>
}

// Campaign is for terms that outlive a function. The term's context is done when it
// ends; so is everything that was derived by With.
func ExampleElection_Campaign() {
	ctx := context.Background()
	session, client, stop := exampleSession(ctx)
	defer stop()
	e, err := election.New(session, "scheduler")
	if err != nil {
		panic(err)
	}

	term, err := e.Campaign(ctx, "http://10.0.0.7:8080")
	if err != nil {
		panic(err)
	}
	work, cancel := term.With(ctx)
	defer cancel()
	_, err = term.Txn(ctx).Then(clientv3.OpPut("scheduler/last-leader", "10.0.0.7")).Commit()
	fmt.Println("written as the leader:", err)

	// An operator intervenes, and the leader has not noticed.
	if _, err := client.Delete(ctx, term.Key()); err != nil {
		panic(err)
	}
	_, err = term.Txn(ctx).Then(clientv3.OpPut("scheduler/last-leader", "10.0.0.7")).Commit()
	fmt.Println("not written:", errors.Is(err, election.ErrLost))
	<-work.Done()
	fmt.Println("resigned:", errors.Is(term.Resign(ctx), election.ErrLost))
	// Output:
	// written as the leader: <nil>
	// not written: true
	// resigned: true
}

// A client that follows the leader, whoever it is.
func ExampleObserve() {
	ctx := context.Background()
	session, client, stop := exampleSession(ctx)
	defer stop()
	e, err := election.New(session, "scheduler")
	if err != nil {
		panic(err)
	}
	var term *election.Term
	for leader, err := range election.Observe(ctx, client, "scheduler") {
		switch {
		case err != nil:
			fmt.Println(err)
			return
		case leader.Exists():
			fmt.Println("led by", leader.Value)
			if leader.Value == "10.0.0.7" {
				err = term.Proclaim(ctx, "10.0.0.7, draining")
			} else {
				err = term.Resign(ctx)
			}
		case term == nil:
			fmt.Println("led by nobody")
			term, err = e.Campaign(ctx, "10.0.0.7")
		default:
			fmt.Println("led by nobody again")
			return
		}
		if err != nil {
			panic(err)
		}
	}
	// Output:
	// led by nobody
	// led by 10.0.0.7
	// led by 10.0.0.7, draining
	// led by nobody again
}

func ExampleTerm_Proclaim() {
	ctx := context.Background()
	session, client, stop := exampleSession(ctx)
	defer stop()
	e, err := election.New(session, "scheduler")
	if err != nil {
		panic(err)
	}
	term, err := e.Campaign(ctx, "starting")
	if err != nil {
		panic(err)
	}
	fmt.Println(term.Proclaim(ctx, "ready"))
	leader, err := election.Current(ctx, client, "scheduler")
	fmt.Println(leader.Value, err)

	fmt.Println(term.Resign(ctx))
	fmt.Println(term.Proclaim(ctx, "still here"))
	// Output:
	// <nil>
	// ready <nil>
	// <nil>
	// election: resigned
}

func ExampleCurrent() {
	ctx := context.Background()
	session, client, stop := exampleSession(ctx)
	defer stop()
	leader, err := election.Current(ctx, client, "scheduler")
	fmt.Println(leader.Exists(), err)

	e, err := election.New(session, "scheduler", election.WithOwner("worker-7"))
	if err != nil {
		panic(err)
	}
	term, err := e.Campaign(ctx, "http://10.0.0.7:8080")
	if err != nil {
		panic(err)
	}
	leader, err = election.Current(ctx, client, "scheduler")
	fmt.Println(leader.Value, leader.Owner, leader.Token == term.Token(), err)
	// Output:
	// false <nil>
	// http://10.0.0.7:8080 worker-7 true <nil>
}

func ExampleCandidates() {
	ctx := context.Background()
	session, client, stop := exampleSession(ctx)
	defer stop()
	leader, err := election.New(session, "scheduler", election.WithOwner("worker-7"))
	if err != nil {
		panic(err)
	}
	if _, err := leader.Campaign(ctx, "10.0.0.7"); err != nil {
		panic(err)
	}
	waiting, leave := context.WithCancel(ctx)
	left := make(chan error)
	go func() {
		other, err := election.New(session, "scheduler", election.WithOwner("worker-8"))
		if err == nil {
			_, err = other.Campaign(waiting, "10.0.0.8")
		}
		left <- err
	}()
	exampleWaiting(ctx, client, "scheduler", 2)

	all, err := election.Candidates(ctx, client, "scheduler")
	for _, c := range all {
		fmt.Println(c.Position, c.Owner, c.Value, c.Leads())
	}
	fmt.Println(err)
	leave()
	fmt.Println(errors.Is(<-left, context.Canceled))
	// Output:
	// 0 worker-7 10.0.0.7 true
	// 1 worker-8 10.0.0.8 false
	// <nil>
	// true
}

// A leader that shall be replaced hands over to the candidate of its choice.
func ExampleTerm_Transfer() {
	ctx := context.Background()
	session, client, stop := exampleSession(ctx)
	defer stop()
	e, err := election.New(session, "scheduler")
	if err != nil {
		panic(err)
	}
	term, err := e.Campaign(ctx, "small machine")
	if err != nil {
		panic(err)
	}
	elected := make(chan string, 2)
	var campaigns sync.WaitGroup
	defer campaigns.Wait()
	for i, value := range []string{"another small machine", "large machine"} {
		campaigns.Go(func() {
			next, err := e.Campaign(ctx, value)
			if err != nil {
				panic(err)
			}
			elected <- value
			_ = next.Resign(ctx)
		})
		exampleWaiting(ctx, client, "scheduler", i+2)
	}

	all, err := election.Candidates(ctx, client, "scheduler")
	if err != nil {
		panic(err)
	}
	fmt.Println(term.Transfer(ctx, all[2]))
	fmt.Println("first:", <-elected)
	fmt.Println("then:", <-elected)
	// Output:
	// <nil>
	// first: large machine
	// then: another small machine
}
