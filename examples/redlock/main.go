// Redlock hands a lock on five Redis nodes around among processes, and shows where it
// holds and where it breaks: nodes are killed, hang, come back without their keys, have
// their clocks jump, and a holder is stopped past its TTL.
//
//	go run ./examples/redlock              # a tour of all that, on nodes of its own
//	go run ./examples/redlock -restart-empty -clock-jump
//	go run ./examples/redlock -nodes 1
//	go run ./examples/redlock -redis a:6379,b:6379,c:6379
//
// What the lock protects is a number in a file, which each holder increases (ledger.go):
// two holders at once lose updates, and nothing on the nodes could prevent that, since
// Redlock has no token for the file to check. Examples handover and fencing show the
// same faults with the lock on etcd, which has.
//
// worker.go and worker_hold.go are what a program would do; the others do things to the
// workers, which are processes of this program, and to the nodes. Each part says what
// it has shown, "held" or "BROKEN", and the exit code is 1 if that is anything else
// than package redlock documents.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/tempdir"
)

func main() {
	redis.SetLogger(silent{})
	process.Main(map[string]process.Role{workerRole: runWorker})
	program.Exit("redlock", run(context.Background(), os.Args[1:], os.Stdout))
}

// silent is the logger of go-redis, which would write about each connection that
// breaks.
type silent struct{}

// Printf does nothing.
func (silent) Printf(context.Context, string, ...any) {}

// run is the program as its user sees it.
func run(ctx context.Context, args []string, out *os.File) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	ctx, end := program.Interruptible(ctx)
	defer end(nil)
	s, err := openServers(ctx, o.redis, o.nodes)
	if err != nil {
		return program.CauseOr(ctx, err)
	}
	dir, err := tempdir.Make("redlock")
	if err != nil {
		return errors.Join(err, s.close())
	}
	if _, err := fmt.Fprintln(out, headline(o, s)); err != nil {
		return errors.Join(err, s.close(), dir.Remove())
	}
	v := o.newView(out, end)
	results, err := o.perform(ctx, s, dir.Path(), v)
	err = program.CauseOr(ctx, errors.Join(err, v.Close()))
	err = errors.Join(err, s.close(), dir.Remove())
	if err == nil || errors.Is(err, program.ErrInterrupted) {
		_, werr := io.WriteString(out, "\n"+table(results, o.styles(out)))
		err = errors.Join(err, werr)
	}
	return errors.Join(err, asDocumented(results))
}

func headline(o options, s *servers) string {
	return screen.Wrap(fmt.Sprintf("%d workers, TTL %s, Redis nodes: %s", o.workers, o.ttl, s), screen.DefaultWidth)
}

// styles are the colours of the table.
func (o *options) styles(out *os.File) screen.Styles {
	if !o.moves(out) {
		return screen.Styles{}
	}
	return screen.NewStyles()
}

// perform plays all acts and returns the results of those that were played.
func (o *options) perform(ctx context.Context, s *servers, dir string, v view) ([]result, error) {
	acts := o.acts(s)
	if o.duration == 0 {
		o.duration = defaultDuration
		if len(acts) > 1 {
			o.duration = tourDuration
		}
	}
	key := o.prefix + rand.Text()[:8]
	var results []result
	for i, a := range acts {
		intro := a.intro
		if len(acts) > 1 {
			intro = fmt.Sprintf("%d/%d  %s", i+1, len(acts), intro)
		}
		v.Title(intro)
		r, err := perform(ctx, s, a, fmt.Sprintf("%s/%d", key, i+1), dir, o.settings, v)
		if err != nil {
			return results, err
		}
		results = append(results, r)
	}
	return results, nil
}

// asDocumented returns what came out otherwise.
func asDocumented(results []result) error {
	var errs []error
	for _, r := range results {
		if !r.verdict.asDocumented() {
			errs = append(errs, fmt.Errorf("%s: %s", r.act.name, r.verdict))
		}
	}
	return errors.Join(errs...)
}
