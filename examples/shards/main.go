// Shards divides work among members: each shard has one owner at a time, who counts for
// it in etcd, and goes from member to member as they come and go.
//
//	go run ./examples/shards               # members come and go, on an embedded etcd
//	go run ./examples/shards -members 8 -shards 1000
//	go run ./examples/shards -member a -endpoints https://etcd.example:2379 -cacert ca.pem
//
// member.go is what a service would have. With -member the program is such a service, until
// Ctrl-C: start it several times. Without, the other files have members come and go, and
// look on. The exit code is 1 if a shard ever had two owners, or a token that did not
// rise.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/shard"
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
	if o.member != "" {
		return errors.Join(beMember(ctx, c, o, out), c.Close())
	}
	v := screen.NewActs(out, end)
	v.Printf("%d members, %d shards, TTL %s, %s\n", o.members, o.shards, o.ttl, c)
	o.group += "-" + rand.Text()[:8]
	err = program.CauseOr(ctx, perform(ctx, c, o, v))
	return errors.Join(err, c.Remove(ctx, o.group+"/"), c.Close())
}

// beMember is a member, and says which shards it has, until ctx ends.
func beMember(ctx context.Context, c *cluster.Cluster, o options, out io.Writer) error {
	client, err := c.Spec().Dial()
	if err != nil {
		return err
	}
	said := func(what string) func(shard.Event) {
		return func(e shard.Event) { _, _ = fmt.Fprintf(out, "shard %d: %s, token %s\n", e.Shard, what, e.Token) }
	}
	err = serve(ctx, client, o.group, o.member, o.ttl, counting(client, o.group), shard.WithShards(o.shards), shard.WithValue(o.member),
		shard.WithObserver(shard.Observer{Acquired: said("mine"), Leaving: said("to go"), Released: said("given up")}))
	return errors.Join(err, client.Close())
}

// perform plays all acts and sums up.
func perform(ctx context.Context, c *cluster.Cluster, o options, v *screen.Acts) (err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	s, err := openStage(c, o, v, fail)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.play(ctx); err != nil {
		return program.CauseOr(ctx, err)
	}
	return s.sumUp()
}
