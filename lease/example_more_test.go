package lease_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/conclave-go/conclave/lease"
)

// What uses a session may want to know when renewals are overdue, long before anything
// is lost.
func ExampleWithStateListener() {
	ctx := context.Background()
	client, stop := connect(ctx)
	defer stop()
	states := make(chan lease.State, 10)
	session, err := lease.NewSession(ctx, client,
		lease.WithStateListener(func(_ *lease.Lease, s lease.State) { states <- s }))
	if err != nil {
		log.Fatal(err)
	}
	if err := session.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-states)
	// Output: closed
}

// An observer is what metrics and traces are made of.
func ExampleWithObserver() {
	ctx := context.Background()
	client, stop := connect(ctx)
	defer stop()
	lost := make(chan error, 1)
	session, err := lease.NewSession(ctx, client, lease.WithTTL(6*time.Second),
		lease.WithObserver(lease.Observer{Lost: func(_ *lease.Lease, cause error) { lost <- cause }}))
	if err != nil {
		log.Fatal(err)
	}
	l, err := session.Lease(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Revoke(ctx, l.ID()); err != nil { // an operator's mistake
		log.Fatal(err)
	}
	if _, err := lease.Register(ctx, session, "instances/7", "10.0.0.7:80"); err != nil { // which this finds out
		log.Fatal(err)
	}
	cause := <-lost
	fmt.Println(errors.Is(cause, lease.ErrLost), lease.ReasonOf(cause))
	if err := session.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: true revoked
}

// Losses are reported at Warn, changes of state at Info.
func ExampleWithLogger() {
	ctx := context.Background()
	client, stop := connect(ctx)
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "lease" { // differ from run to run
				return slog.Attr{}
			}
			return a
		},
	}))
	session, err := lease.NewSession(ctx, client, lease.WithTTL(12*time.Second), lease.WithLogger(logger))
	if err != nil {
		log.Fatal(err)
	}
	l, err := session.Lease(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Revoke(ctx, l.ID()); err != nil {
		log.Fatal(err)
	}
	if _, err := lease.Register(ctx, session, "instances/7", "10.0.0.7:80"); err != nil { // it is put under a new lease
		log.Fatal(err)
	}
	if err := session.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Unordered output:
	// level=WARN msg="lease: lost" cause="lease: lost: the server does not know the lease: it expired or was revoked"
	// level=INFO msg="lease: session has a new lease"
}

// A process that takes over from one which may still be there, for example a newer
// version of itself.
func ExampleWithTakeover() {
	ctx := context.Background()
	client, stop := connect(ctx)
	defer stop()
	older, err := lease.NewSession(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := lease.Register(ctx, older, "services/api/1", "version 1"); err != nil {
		log.Fatal(err)
	}
	newer, err := lease.NewSession(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := lease.Register(ctx, newer, "services/api/1", "version 2", lease.WithTakeover()); err != nil {
		log.Fatal(err)
	}
	resp, err := client.Get(ctx, "services/api/1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Kvs[0].Value)
	if err := errors.Join(older.Close(ctx), newer.Close(ctx)); err != nil {
		log.Fatal(err)
	}
	// Output: version 2
}

// What others see of a registration can change while it stays in place.
func ExampleRegistration_Update() {
	ctx := context.Background()
	client, stop := connect(ctx)
	defer stop()
	session, err := lease.NewSession(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	registration, err := lease.Register(ctx, session, "services/api/1", "starting")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(registration.Update(ctx, "ready"), registration.Err())
	resp, err := client.Get(ctx, "services/api/1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Kvs[0].Value)
	fmt.Println(registration.Close(ctx))
	if err := session.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// <nil> <nil>
	// ready
	// <nil>
}
