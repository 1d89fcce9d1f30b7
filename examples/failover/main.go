// Failover lets processes stand for election and shows what happens when the leader
// is killed, stopped, cut off, resigns or gives its term to another: who leads, in
// which term, who waits in which order, and how long it took until the next led. A
// leader that is cut off is told before the next is elected, and one that was stopped
// writes in vain.
//
//	go run ./examples/failover              # a tour of all that, then the keys are yours
//	go run ./examples/failover -crash -partition -times 5
//	go run ./examples/failover -tour -html failover.html
//	go run ./examples/failover -endpoints https://etcd.example:2379 -cacert ca.pem
//
// worker.go and worker_lead.go are what a program would do: the candidates are
// processes of this program, which run election.Run and report what they do as lines
// of JSON on their standard output, with times from a clock that they share. The
// others do things to them and look on. The exit code is 1 if two led at one time
// before their deadlines, if a term's number was not higher than the one before, or
// if etcd accepted a guarded write of a former leader.
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
	program.Exit("failover", run(context.Background(), os.Args[1:], os.Stdout))
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
	if _, err := fmt.Fprintf(out, "%d candidates, TTL %s, %s\n", o.candidates, o.ttl, c); err != nil {
		return errors.Join(err, c.Close())
	}
	o.prefix += rand.Text()[:8] + "/"
	v, keys := o.newView(out, end)
	b, err := o.perform(ctx, c, v, keys)
	err = program.CauseOr(ctx, errors.Join(err, v.Close()))
	if errors.Is(err, errEnough) {
		err = nil
	}
	err = errors.Join(err, c.Remove(ctx, o.prefix), c.Close())
	if err == nil || errors.Is(err, program.ErrInterrupted) {
		_, werr := io.WriteString(out, "\n"+summary(b))
		err = errors.Join(err, werr)
	}
	err = errors.Join(err, file.Save(o.page(c, b), out))
	return judge(err, b.record.verdict())
}

// judge returns how a run ends: an interruption does not excuse what should not have
// happened before.
func judge(err, verdict error) error {
	if verdict != nil && errors.Is(err, program.ErrInterrupted) {
		return verdict
	}
	return errors.Join(err, verdict)
}

// perform plays everything and returns what is known at the end.
func (o *options) perform(ctx context.Context, c *cluster.Cluster, v view, keys <-chan string) (*board, error) {
	began := process.Now()
	cr, err := startCrew(ctx, c, o.prefix, o.settings)
	if cr == nil {
		return newBoard(nil), err
	}
	names := make([]string, len(cr.candidates))
	for i, cand := range cr.candidates {
		names[i] = cand.job.Worker
	}
	s := &stage{crew: cr, board: newBoard(names), view: v, keys: keys, began: began}
	if o.recorded {
		s.chart = report.NewRecorder(began, names...)
	}
	if err == nil {
		err = o.play(ctx, s)
		s.leave(ctx)
	}
	return s.board, errors.Join(err, cr.close())
}

// newView returns what suits the place where the output goes, and the keys that are
// pressed there if they are to be heeded. end is called when nobody looks on any
// more, or does not want to.
func (o *options) newView(out *os.File, end context.CancelCauseFunc) (view, <-chan string) {
	switch {
	case o.plain || !screen.Live(out):
		return &plain{screen.Lines{W: out, Failed: end}}, nil
	case o.tour || o.chosen() || !screen.Interactive(os.Stdin):
		return newLive(out, end, nil), nil
	}
	keys := make(chan string, 1)
	return newLive(out, end, keys), keys
}
