package concurrency_test

import (
	"context"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// exampleClient returns a client of an etcd that runs in this process.
func exampleClient() (client *clientv3.Client, stop func()) {
	c, err := etcdtest.Start(context.Background())
	if err != nil {
		panic(err)
	}
	if client, err = c.NewClient(); err != nil {
		panic(err)
	}
	return client, func() {
		_ = client.Close()
		_ = c.Close()
	}
}

// As with the other library, but for the import path.
func ExampleNewMutex() {
	client, stop := exampleClient()
	defer stop()
	ctx := context.Background()
	one, err := concurrency.NewSession(client)
	if err != nil {
		panic(err)
	}
	defer func() { _ = one.Close() }()
	other, err := concurrency.NewSession(client)
	if err != nil {
		panic(err)
	}
	defer func() { _ = other.Close() }()
	mutex, others := concurrency.NewMutex(one, "/my-lock/"), concurrency.NewMutex(other, "/my-lock/")
	if err := mutex.Lock(ctx); err != nil {
		panic(err)
	}
	fmt.Println("the other:", others.TryLock(ctx))
	if err := mutex.Unlock(ctx); err != nil {
		panic(err)
	}
	fmt.Println("the other:", others.TryLock(ctx))
	// Output:
	// the other: concurrency: mutex is locked by another session
	// the other: <nil>
}

func ExampleNewElection() {
	client, stop := exampleClient()
	defer stop()
	ctx := context.Background()
	session, err := concurrency.NewSession(client)
	if err != nil {
		panic(err)
	}
	defer func() { _ = session.Close() }()
	e := concurrency.NewElection(session, "/my-election")
	if err := e.Campaign(ctx, "10.0.0.7"); err != nil {
		panic(err)
	}
	leader, err := e.Leader(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println("led by", string(leader.Kvs[0].Value))
	if err := e.Resign(ctx); err != nil {
		panic(err)
	}
	_, err = e.Leader(ctx)
	fmt.Println(err)
	// Output:
	// led by 10.0.0.7
	// concurrency: election: no leader
}

// A process that is started anew goes on with the term of the one before.
func ExampleResumeElection() {
	client, stop := exampleClient()
	defer stop()
	ctx := context.Background()
	before, err := concurrency.NewSession(client)
	if err != nil {
		panic(err)
	}
	e := concurrency.NewElection(before, "/my-election")
	if err := e.Campaign(ctx, "10.0.0.7"); err != nil {
		panic(err)
	}
	lease, key, rev := before.Lease(), e.Key(), e.Rev() // written down somewhere
	before.Orphan()

	after, err := concurrency.NewSession(client, concurrency.WithLease(lease))
	if err != nil {
		panic(err)
	}
	defer func() { _ = after.Close() }()
	fmt.Println("still leads:", concurrency.ResumeElection(after, "/my-election", key, rev).Proclaim(ctx, "10.0.0.8") == nil)
	// Output: still leads: true
}

func ExampleNewSTM() {
	client, stop := exampleClient()
	defer stop()
	move := func(s concurrency.STM) error {
		from, _ := strconv.Atoi(s.Get("accounts/a"))
		to, _ := strconv.Atoi(s.Get("accounts/b"))
		s.Put("accounts/a", strconv.Itoa(from-10))
		s.Put("accounts/b", strconv.Itoa(to+10))
		return nil
	}
	resp, err := concurrency.NewSTM(client, move)
	fmt.Println(resp.Succeeded, err)
	// Output: true <nil>
}

// No job is lost or taken twice, whoever adds and takes some meanwhile: the transaction
// commits only if the range is as it was read, without a job that came or went.
func ExampleGetPrefix() {
	client, stop := exampleClient()
	defer stop()
	type job struct{ Name string }
	add := func(name string) {
		_, err := concurrency.NewSTM(client, func(s concurrency.STM) error {
			next := len(concurrency.GetPrefix(s, "jobs/"))
			concurrency.PutJSON(s, fmt.Sprintf("jobs/%03d", next), job{Name: name})
			return nil
		})
		if err != nil {
			panic(err)
		}
	}
	add("mend")
	add("clean")
	_, err := concurrency.NewSTM(client, func(s concurrency.STM) error {
		for _, kv := range concurrency.GetPrefix(s, "jobs/") {
			j, _ := concurrency.GetJSON[job](s, kv.Key)
			fmt.Println(kv.Key, j.Name)
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	// Output:
	// jobs/000 mend
	// jobs/001 clean
}
