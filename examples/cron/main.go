// Cron runs jobs at their times on a fleet of processes, each job one run at a time,
// although every process knows every job and none is in charge. A run is done under
// the lock of its job, page by page, and each page goes to etcd with the lock's token
// in a transaction that the lock guards. So a run whose process dies is resumed by
// another from the last page, times at which nobody was there are made up for by one
// run, and a process that was stopped and wakes up too late changes nothing.
//
//	go run ./examples/cron                 # on an embedded etcd
//	go run ./examples/cron -endpoints https://etcd.example:2379 -cacert ca.pem
//
// Three files are what a program would do: schedule.go says when a job is due, turn.go
// does what is due, record.go keeps it in etcd. worker.go makes a process of that, and
// the others do things to the processes and look on. The exit code is 1 if a run took
// place twice, or if a token went down from one write to the next.
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
	program.Exit("cron", run(context.Background(), os.Args[1:], os.Stdout))
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
	v.Printf("%d processes, TTL %s, %s\n", processes, o.ttl, c)
	o.prefix += rand.Text()[:8] + "/"
	err = program.CauseOr(ctx, perform(ctx, c, o, v))
	return errors.Join(err, c.Remove(ctx, o.prefix), c.Close())
}

// perform starts the fleet, plays all acts and sums up.
func perform(ctx context.Context, c *cluster.Cluster, o options, v *screen.Acts) (err error) {
	f, err := openFleet(ctx, c, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	s := &stage{fleet: f, view: v, ledger: newLedger()}
	if err := s.play(ctx); err != nil {
		return err
	}
	v.Printf("\n%s\n", v.Styles.Good.Render(v.Wrap(s.ledger.String())))
	return nil
}
