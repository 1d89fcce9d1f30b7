package lease_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/conclave-go/conclave/lease"
)

// What stands by for a lease may look at how it is doing: how long it lasts for
// certain, when it was last renewed, and whether keys may be left that nobody counts on.
func ExampleLease_Deadline() {
	ctx := context.Background()
	client, stop := connect(ctx)
	defer stop()
	l, err := lease.Grant(ctx, client, lease.WithTTL(time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("lasts:", time.Now().Before(l.Deadline()), l.Remaining() > 30*time.Second)
	fmt.Println("renewed lately:", l.SinceRenewal() < l.TTL()/2)
	fmt.Println("keys in doubt:", l.Doubts())

	if err := l.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("lasts:", time.Now().Before(l.Deadline()), l.Remaining() > 0)
	// Output:
	// lasts: true true
	// renewed lately: true
	// keys in doubt: 0
	// lasts: false false
}

// On machines whose clocks are not to be relied on, a larger allowance ends a lease
// sooner before the server does.
func ExampleWithClockDrift() {
	ctx := context.Background()
	client, stop := connect(ctx)
	defer stop()
	before := time.Now()
	l, err := lease.Grant(ctx, client, lease.WithTTL(time.Minute), lease.WithClockDrift(0.2))
	if err != nil {
		log.Fatal(err)
	}
	after := time.Now()
	fmt.Println("TTL:", l.TTL())
	fmt.Println("at least:", l.Deadline().Sub(before) >= 48*time.Second)
	fmt.Println("at most:", l.Deadline().Sub(after) <= 48*time.Second)
	if err := l.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// TTL: 1m0s
	// at least: true
	// at most: true
}
