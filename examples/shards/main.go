// Shards divides work among the members that are alive: series of measurements, put
// into shards by some of their labels, and the shards spread over the members by
// consistent hashing with bounded loads. Members register under their leases, each
// follows who else does, and all reckon the same owners from the same members. For as
// long as they do not know the same, the lock of each shard keeps them apart: an owner
// lets go before the next begins.
//
//	go run ./examples/shards               # on an embedded etcd
//	go run ./examples/shards -labels tenant -load 1.5
//	go run ./examples/shards -endpoints https://etcd.example:2379 -cacert ca.pem
//
// ring.go says which shard something belongs to and whose that is, member.go is a
// member's part in it. The others have members come and go, and look on. The exit code
// is 1 if a shard ever had two owners, or a token that did not rise.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
)

func main() { program.Exit("shards", run(context.Background(), os.Args[1:], os.Stdout)) }

// run is the program as its user sees it.
func run(ctx context.Context, args []string, out *os.File) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	ctx, end := program.Interruptible(ctx)
	defer end(nil)
	c, err := cluster.Open(ctx, o.etcd)
	if err != nil {
		return program.CauseOr(ctx, err)
	}
	v := screen.NewActs(out, end)
	v.Printf("%d members, %d shards, TTL %s, %s\n", o.members, shards, o.ttl, c)
	o.prefix += rand.Text()[:8] + "/"
	err = program.CauseOr(ctx, perform(ctx, c, o, v))
	return errors.Join(err, c.Remove(ctx, o.prefix), c.Close())
}

// perform plays all acts and sums up.
func perform(ctx context.Context, c *cluster.Cluster, o options, v *screen.Acts) (err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	s, err := openStage(ctx, c, o, v, fail)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.play(ctx); err != nil {
		return program.CauseOr(ctx, err)
	}
	return s.sumUp()
}
