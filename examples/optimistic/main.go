// Optimistic has several at a time change one number in etcd, in two ways: by reading
// it and writing under the condition that nobody has written since, again and again
// until that is so; and under a lock. It measures both, beside each other, for more and
// more at a time, with and without work between the read and the write.
//
//	go run ./examples/optimistic               # on an embedded etcd
//	go run ./examples/optimistic -work 50ms -duration 2s
//	go run ./examples/optimistic -endpoints https://etcd.example:2379 -cacert ca.pem
//
// number.go has the two ways, and a third, which loses changes. The others measure.
// The exit code is 1 if one of the two has lost any.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/lease"
)

// closeTimeout bounds the end of the session.
const closeTimeout = 5 * time.Second

func main() {
	program.Exit("optimistic", run(context.Background(), os.Args[1:], os.Stdout))
}

// run is the program as its user sees it.
func run(ctx context.Context, args []string, out *os.File) (err error) {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	ctx, end := program.Interruptible(ctx)
	defer end(nil)
	defer func() { err = program.CauseOr(ctx, err) }()
	c, err := cluster.Open(ctx, o.etcd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	v := &view{screen.NewActs(out, end)}
	v.Printf("%s for each measurement, %s\n", o.duration, c)
	o.prefix += rand.Text()[:8] + "/"
	defer func() { err = errors.Join(err, c.Remove(ctx, o.prefix)) }()
	return measureAll(ctx, c, o, v)
}

// measureAll opens what the measurements share, plays the acts and sums up.
func measureAll(ctx context.Context, c *cluster.Cluster, o options, v *view) (err error) {
	client, err := c.Spec().Dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	session, err := lease.NewSession(ctx, client)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, session.Close(ctx))
	}()
	if err := playBlind(ctx, client, o, v); err != nil {
		return err
	}
	var results []result
	for i, a := range acts(o) {
		v.Begin("%d/4  %s", i+2, a.intro)
		for _, s := range a.settings {
			r, err := compare(ctx, session, s, fmt.Sprintf("%s%d/", o.prefix, len(results)))
			if err != nil {
				return err
			}
			v.Tell(v.Styles.Dim, "%s", r.String())
			results = append(results, r)
		}
	}
	v.sum(results)
	return nil
}

// playBlind shows what both ways prevent.
func playBlind(ctx context.Context, client *clientv3.Client, o options, v *view) error {
	v.Begin("1/4  Neither: %d at a time read, then write what they read plus one.", blindAtOnce)
	n := &number{client: client, key: o.prefix + "blind"}
	for range blindRounds {
		if err := n.addBlindly(ctx, blindAtOnce); err != nil {
			return err
		}
	}
	at, err := n.read(ctx)
	if err != nil {
		return err
	}
	made := int64(blindRounds * blindAtOnce)
	v.Tell(v.Styles.Bad, "after %d additions the number is %d: %d are lost", made, at.value, made-at.value)
	return nil
}
