package main

import (
	"context"
	"errors"
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
)

// job is what a worker is told first. Each further line lets it go on from a look to
// the write.
type job struct {
	Worker, Lock, File string
	Guarded            bool
	Sells              int64
	TTL                time.Duration
	Etcd               cluster.Spec
}

// kind says what an event is about.
type kind string

const (
	looked   kind = "looked"   // it has the lock and knows the stock; Token, Amount
	wrote    kind = "wrote"    // it has tried to; Token, Amount, Newer if it was refused
	unlocked kind = "unlocked" // it has given up the lock; Lost if it had it no more
	ended    kind = "ended"    // which its parent notices; Detail
)

// event is what a worker reports.
type event struct {
	Kind         kind
	Token        lock.Token
	Amount       int64
	Newer        lock.Token // the row's
	Lost, Detail string
}

// worker sells once.
type worker struct {
	job   job
	line  *process.Line
	goOn  chan struct{}
	stock *stock
}

// runWorker is the program as a worker.
func runWorker(ctx context.Context, line *process.Line) error {
	w := &worker{line: line, goOn: make(chan struct{}, 1)}
	return line.Serve(ctx, &w.job, func(string) { w.goOn <- struct{}{} }, func(ctx context.Context) error {
		return workers.UnlessDone(ctx, w.run(ctx))
	})
}

func (w *worker) report(e event) { w.line.Report(e) }

// run opens what a worker needs, sells, and closes it.
func (w *worker) run(ctx context.Context) (err error) {
	if w.stock, err = openStock(w.job); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stock.db.Close()) }()
	client, err := w.job.Etcd.Dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	session, err := lease.NewSession(ctx, client, lease.WithTTL(w.job.TTL))
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, session.Close(ctx))
	}()
	mutex, err := lock.NewMutex(session, w.job.Lock, lock.WithOwner(w.job.Worker))
	if err != nil {
		return err
	}
	if err := w.sell(ctx, mutex); err != nil {
		return err
	}
	<-ctx.Done() // the parent says when the show is over
	return nil
}

// sell tries until the table accepts. After a refusal it takes the lock anew and
// looks again: what it knew is out of date.
func (w *worker) sell(ctx context.Context, m *lock.Mutex) error {
	for {
		h, err := m.Lock(ctx)
		if err != nil {
			return err
		}
		err = w.sellOnce(ctx, h)
		e, unlockErr := event{Kind: unlocked}, h.Unlock(ctx)
		if errors.Is(unlockErr, lock.ErrLost) {
			// If the table accepted the sale, it counts all the same.
			e.Lost, unlockErr = unlockErr.Error(), nil
		}
		w.report(e)
		if _, stale := errors.AsType[*lock.StaleTokenError](err); !stale {
			return errors.Join(err, unlockErr)
		}
	}
}

// sellOnce looks, and writes what is left after a sale.
func (w *worker) sellOnce(ctx context.Context, h *lock.Hold) error {
	amount, err := w.stock.look(ctx, h.Token())
	if err != nil {
		return err
	}
	w.report(event{Kind: looked, Token: h.Token(), Amount: amount})
	select { // here the process is stopped
	case <-ctx.Done():
		return ctx.Err()
	case <-w.goOn:
	}
	// Real work runs under h.With(ctx), which stops most late writes on this side. This
	// one stands for those that it cannot stop because they are on their way already.
	e := event{Kind: wrote, Token: h.Token(), Amount: amount - w.job.Sells}
	err = w.stock.set(ctx, e.Token, e.Amount)
	stale, refused := errors.AsType[*lock.StaleTokenError](err)
	if refused {
		e.Newer = stale.Highest
	}
	if err == nil || refused {
		w.report(e)
	}
	return err
}
