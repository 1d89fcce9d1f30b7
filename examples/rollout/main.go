// Rollout updates a configuration that readers in several clusters use. It consists of
// three keys that must fit together. A writer takes the lock, reads all, merges its
// change, validates the result, and writes all keys in one transaction that the lock
// guards; so no reader ever sees a part of an update, whenever a writer dies. Each
// reader reports the version that it has applied, under a lease, and the writer waits
// until all have reported the new one that are alive.
//
//	go run ./examples/rollout              # on an embedded etcd
//	go run ./examples/rollout -endpoints https://etcd.example:2379 -cacert ca.pem
//
// Three files are what programs would do: config.go knows what fits together,
// update.go is a writer, reader.go a reader. worker.go makes processes of writers, so
// that they can be killed, and the others look on. The exit code is 1 if a reader ever
// saw a mixture of versions.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
)

func main() {
	process.Main(map[string]process.Role{workerRole: runWorker})
	program.Exit("rollout", run(context.Background(), os.Args[1:], os.Stdout))
}

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
	v.Printf("%d readers in %d clusters, TTL %s, %s\n", len(readerNames()), len(clusters()), o.ttl, c)
	o.prefix += rand.Text()[:8] + "/"
	err = program.CauseOr(ctx, perform(ctx, c, o, v))
	return errors.Join(err, c.Remove(ctx, o.prefix), c.Close())
}

// perform starts the readers, plays all acts and sums up.
func perform(ctx context.Context, c *cluster.Cluster, o options, v *screen.Acts) (err error) {
	s := newStage(c, o, v)
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(ctx); err != nil {
		return err
	}
	if err := s.play(ctx); err != nil {
		return err
	}
	v.Printf("\n%s\n", v.Styles.Good.Render(v.Wrap(s.summary())))
	return nil
}
