package lease_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

// connect stands in for clientv3.New: it starts the etcd that it connects to.
func connect(ctx context.Context) (client *clientv3.Client, stop func()) {
	cluster, err := etcdtest.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	client, err = cluster.NewClient()
	if err != nil {
		log.Fatal(err)
	}
	return client, func() {
		if err := errors.Join(client.Close(), cluster.Close()); err != nil {
			log.Fatal(err)
		}
	}
}

// A session heals: when its lease is lost, the next use gets a new one.
func ExampleNewSession() {
	ctx := context.Background()
	client, stop := connect(ctx)
	defer stop()

	session, err := lease.NewSession(ctx, client, lease.WithTTL(6*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	first, err := session.Lease(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Revoke(ctx, first.ID()); err != nil { // an operator's mistake
		log.Fatal(err)
	}
	<-first.Context().Done()
	fmt.Println("lost:", errors.Is(first.Err(), lease.ErrLost))

	second, err := session.Lease(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("healed:", second.Err() == nil && second.ID() != first.ID())
	if err := session.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// lost: true
	// healed: true
}

// Work that relies on a lease derives its context from the lease's.
func ExampleGrant() {
	ctx := context.Background()
	client, stop := connect(ctx)
	defer stop()

	l, err := lease.Grant(ctx, client, lease.WithTTL(30*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.TTL(), l.State())

	work, cancel := context.WithCancel(l.Context())
	defer cancel()
	if err := l.Close(ctx); err != nil {
		log.Fatal(err)
	}
	<-work.Done()
	fmt.Println(l.State(), "because of", context.Cause(work))
	// Output:
	// 30s healthy
	// closed because of lease: closed
}

// A service announces where it can be reached for as long as it lives.
func ExampleRegister() {
	ctx := context.Background()
	client, stop := connect(ctx)
	defer stop()
	session, err := lease.NewSession(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := lease.Register(ctx, session, "services/api/1", "10.0.0.1:443"); err != nil {
		log.Fatal(err)
	}
	resp, err := client.Get(ctx, "services/api/1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Kvs[0].Value)

	// Another process cannot have the key.
	other, err := lease.NewSession(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	_, err = lease.Register(ctx, other, "services/api/1", "10.0.0.2:443")
	if taken, ok := errors.AsType[*lease.TakenError](err); ok {
		fmt.Println("taken by", taken.Value)
	}
	if err := errors.Join(other.Close(ctx), session.Close(ctx)); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 10.0.0.1:443
	// taken by 10.0.0.1:443
}
