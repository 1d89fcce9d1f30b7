package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lease"
)

const (
	// workerRole is the role of the processes that this program starts.
	workerRole = "worker"
	// closeTimeout bounds the worker's clean-up, and its last resignation before
	// that; its parent waits a little longer for both.
	closeTimeout = time.Second
)

// worker is a candidate that stands for election again and again, and reports each
// step.
type worker struct {
	job     job
	client  *clientv3.Client
	session *lease.Session
	asked   chan string // what the parent asked and nobody has seen yet
	line    *process.Line
}

// runWorker is the program as a worker.
func runWorker(ctx context.Context, line *process.Line) error {
	w := &worker{line: line, asked: make(chan string, 1)}
	ask := func(line string) {
		select {
		case w.asked <- line:
		default: // one at a time
		}
	}
	return line.Serve(ctx, &w.job, ask, w.run)
}

// report writes an event, stamped with the time.
func (w *worker) report(e event) {
	e.At, e.Worker, e.PID = process.Now(), w.job.Worker, os.Getpid()
	w.line.Report(e)
}

func (w *worker) run(ctx context.Context) (err error) {
	if w.client, err = w.job.Etcd.Dial(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.client.Close()) }()
	w.session, err = lease.NewSession(ctx, w.client,
		lease.WithTTL(w.job.TTL),
		lease.WithGrace(closeTimeout),
		lease.WithObserver(lease.Observer{Waiting: func(e lease.Event) { w.report(event{Kind: waits, Key: e.Key}) }}),
	)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, w.session.Close(closing))
	}()
	return w.stand(ctx)
}

// stand stands for election until ctx ends.
func (w *worker) stand(ctx context.Context) error {
	l, err := w.session.Lease(ctx)
	if err != nil {
		return err
	}
	w.report(event{Kind: ready, TTL: l.TTL()})
	e, err := election.New(w.session, w.job.Name, election.WithOwner(w.job.Worker))
	if err != nil {
		return err
	}
	value := fmt.Sprintf("process %d", os.Getpid())
	for ctx.Err() == nil {
		// A lost term is no reason for Run to return: it stands again by itself.
		err := e.Run(ctx, value, func(leading context.Context, t *election.Term) error {
			return w.lead(ctx, leading, t)
		})
		if err != nil {
			return workers.UnlessDone(ctx, err)
		}
	}
	return nil
}
