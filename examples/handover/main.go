// Handover lets processes hand a lock to each other and shows how: who holds it,
// with which token, who waits for whom, and how long each hand-over took; also when
// the holder is killed, stopped or cut off, and with clientv3/concurrency instead.
//
//	go run ./examples/handover              # a tour of all that, on an embedded etcd
//	go run ./examples/handover -run -workers 8
//	go run ./examples/handover -partition -official
//	go run ./examples/handover -html handover.html
//	go run ./examples/handover -endpoints https://etcd.example:2379 -cacert ca.pem
//
// The workers are processes of the same program; they report what they do as lines
// of JSON on their standard output, with times from a clock that they share.
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
	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
)

func main() {
	process.Main(map[string]process.Role{workerRole: runWorker})
	program.Exit("handover", run(context.Background(), os.Args[1:], os.Stdout))
}

// run is the program as its user sees it.
func run(ctx context.Context, args []string, out *os.File) (err error) {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	file, err := report.Open(*o.html)
	if err != nil {
		return program.Misuse(err, usage)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	o.recorded = file.Wanted()
	ctx, end := program.Interruptible(ctx)
	defer end(nil)
	c, err := cluster.Open(ctx, o.etcd)
	if err != nil {
		return program.CauseOr(ctx, err)
	}
	if _, err := fmt.Fprintln(out, headline(o, c)); err != nil {
		return errors.Join(err, c.Close())
	}
	v := newView(o, out, end)
	results, err := o.perform(ctx, c, v)
	err = program.CauseOr(ctx, errors.Join(err, v.Close()))
	err = errors.Join(err, c.Remove(ctx, o.prefix), c.Close())
	if err == nil || errors.Is(err, program.ErrInterrupted) {
		_, werr := io.WriteString(out, "\n"+table(results))
		err = errors.Join(err, werr)
	}
	return errors.Join(err, file.Save(o.page(c, results), out))
}

func headline(o options, c *cluster.Cluster) string {
	return fmt.Sprintf("%d workers, TTL %s, %s", o.workers, o.ttl, c)
}

// perform plays all acts and returns the results of those that were played.
func (o *options) perform(ctx context.Context, c *cluster.Cluster, v view) ([]result, error) {
	acts := o.acts()
	set := o.settings
	if set.duration == 0 {
		set.duration = defaultDuration
		if len(acts) > 1 {
			set.duration = tourDuration
		}
	}
	o.prefix += rand.Text()[:8] + "/"
	var results []result
	for i, a := range acts {
		intro := a.intro
		if len(acts) > 1 {
			intro = fmt.Sprintf("%d/%d  %s", i+1, len(acts), intro)
		}
		v.Title(intro)
		r, err := o.try(ctx, c, a, fmt.Sprintf("%s%d/", o.prefix, i+1), set, v)
		results = append(results, r)
		if err != nil {
			return results, err
		}
	}
	return results, nil
}

// tries is how often an act is tried whose holder loses the lock by itself.
const tries = 3

// try plays an act, anew if need be, each time on a lock of its own.
func (o *options) try(ctx context.Context, c *cluster.Cluster, a act, prefix string, set settings, v view) (result, error) {
	for n := 1; ; n++ {
		r, err := perform(ctx, c, a, fmt.Sprintf("%s%d/", prefix, n), set, v)
		if n == tries || !errors.Is(err, errDeposed) {
			return r, err
		}
		v.Title("The holder has lost the lock by itself, so this begins anew.")
	}
}

// newView returns what suits the place where the output goes. end is called when
// nobody looks on any more, or does not want to.
func newView(o options, out *os.File, end context.CancelCauseFunc) view {
	if o.plain || o.verbose || !screen.Live(out) {
		return &plain{Lines: screen.Lines{W: out, Failed: end}, verbose: o.verbose}
	}
	return newLive(out, end)
}
