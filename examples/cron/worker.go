package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

const (
	// workerRole is the role of the processes that this program starts.
	workerRole = "worker"
	// closeTimeout bounds the worker's clean-up; its parent waits a little longer.
	closeTimeout = 5 * time.Second
	// stayAfter is how many pages a run has when its process may be asked to stay.
	stayAfter = 2
)

// assignment is what a worker is told first.
type assignment struct {
	Worker, Prefix string
	TTL            time.Duration
	Etcd           cluster.Spec
}

// What a worker is told later.
const (
	askStay = "stay" // in the middle of the next run
	askGo   = "go"   // on
)

// kind says what an event is about.
type kind string

const (
	stays    kind = "stays"    // in the middle of a run; Record, Token
	refused  kind = "refused"  // it could not store a page, for lack of the lock; Record, Detail
	troubled kind = "troubled" // it tries again later, because of Detail
	ended    kind = "ended"    // its process has; Detail unless it was asked to
	stored   kind = "stored"   // etcd has taken a page; Record
	result   kind = "result"   // etcd has the result of a run; Record
)

// event is what a worker reports, or the parent sees in etcd.
type event struct {
	At     int64
	Worker string
	Kind   kind
	Record record
	Token  lock.Token
	Detail string
}

// Time implements [workers.Event].
func (e event) Time() int64 { return e.At }

// when is the same on this process's clock.
func (e event) when() time.Time { return time.Now().Add(time.Duration(e.At - process.Now())) }

// runWorker is the program as a worker.
func runWorker(ctx context.Context, line *process.Line) error {
	r := &runner{}
	r.report = func(e event) {
		e.At, e.Worker = process.Now(), r.job.Worker
		line.Report(e)
	}
	told := func(line string) { r.gate.set(line == askStay) }
	return line.Serve(ctx, &r.job, told, func(ctx context.Context) error {
		return workers.UnlessDone(ctx, r.run(ctx))
	})
}

// run opens what a worker needs, and keeps all jobs until ctx ends.
func (r *runner) run(ctx context.Context) (err error) {
	if r.client, err = r.job.Etcd.Dial(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.client.Close()) }()
	if r.session, err = lease.NewSession(ctx, r.client, lease.WithTTL(r.job.TTL)); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, r.session.Close(ctx))
	}()
	all, err := jobs()
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx) // the first that fails ends all
	defer fail(nil)
	var keeping sync.WaitGroup
	for _, j := range all {
		keeping.Go(func() { fail(r.keep(ctx, j)) })
	}
	keeping.Wait()
	return context.Cause(ctx)
}

// jobs are those of the fleet.
func jobs() ([]job, error) {
	report, err := newJob("report", "* * * * * *", 4)
	if err != nil {
		return nil, err
	}
	mail, err := newJob("mail", "*/2 * * * * *", 1)
	return []job{report, mail}, err
}

// gate is where a run can be made to stay.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // nil while open, closed on opening
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case shut && g.shut == nil:
		g.shut = make(chan struct{})
	case !shut && g.shut != nil:
		close(g.shut)
		g.shut = nil
	}
}

// barrier returns what is closed when the gate opens, nil if it is open.
func (g *gate) barrier() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}
