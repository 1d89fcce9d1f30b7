// Fencing guards a table of a SQL database, which knows nothing of etcd, with the
// tokens of a lock. A worker has looked at the stock of bolts and is about to sell
// some when its process is stopped, for longer than its lease lasts. Another worker
// gets the lock and sells. Then the first wakes up and writes: refused, because each
// statement says "AND token <= ?". Without these words its write undoes the sale.
//
//	go run ./examples/fencing               # both, on an embedded etcd
//	go run ./examples/fencing -unguarded    # only without the condition
//	go run ./examples/fencing -endpoints https://etcd.example:2379 -cacert ca.pem
//
// Two files are about fencing: stock.go has the statements, worker.go the way from
// the lock to them. The others have processes of this program work on one file of
// SQLite, and show what comes of it. The exit code is 1 if that is something else
// than is told here.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/tempdir"
)

func main() {
	process.Main(map[string]process.Role{workerRole: runWorker})
	program.Exit("fencing", run(context.Background(), os.Args[1:], os.Stdout))
}

// run is the program as its user sees it.
func run(ctx context.Context, args []string, out *os.File) (err error) {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	ctx, end := program.Interruptible(ctx)
	defer end(nil)
	dir, err := tempdir.Make("fencing")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Remove()) }()
	c, err := cluster.Open(ctx, o.etcd)
	if err != nil {
		return program.CauseOr(ctx, err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	v := &view{screen.NewActs(out, end)}
	v.Printf("2 workers, TTL %s, SQLite, %s\n", o.ttl, c)
	j := job{Lock: o.prefix + rand.Text()[:8] + "/inventory", File: filepath.Join(dir.Path(), "stock.db"), TTL: o.ttl}
	return program.CauseOr(ctx, perform(ctx, c, o, j, v))
}

// perform plays both acts, or one, and sums up.
func perform(ctx context.Context, c *cluster.Cluster, o options, j job, v *view) error {
	acts := []act{
		{name: "guarded", title: `Guarded by "AND token <= ?": the late write is refused.`, guarded: true},
		{name: "unguarded", title: "Unguarded, without that: the late write undoes a sale."},
	}
	if o.unguarded {
		acts = acts[1:]
	}
	var results []result
	for _, a := range acts {
		v.Begin("%s", a.title)
		r, err := performAct(ctx, c, a, o, j, v)
		if err != nil {
			return err
		}
		results = append(results, r)
	}
	return v.table(results)
}
