package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/lease"
)

const (
	// workerVariable in the environment makes the program a worker.
	workerVariable = "CONCLAVE_FAILOVER_WORKER"
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

	mu  sync.Mutex
	out *json.Encoder
}

// runWorker is the program as a worker: told by lines on in, reporting by lines on
// out.
func runWorker(ctx context.Context, in io.Reader, out io.Writer) int {
	w := &worker{out: json.NewEncoder(out), asked: make(chan string, 1)}
	ask := func(line string) {
		select {
		case w.asked <- line:
		default: // one at a time
		}
	}
	if err := workers.Serve(ctx, in, &w.job, ask, w.run); err != nil {
		w.report(event{Kind: failed, Detail: err.Error()})
		return 1
	}
	return 0
}

// report writes an event, stamped with the time.
func (w *worker) report(e event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.At, e.Worker, e.PID = workers.Now(), w.job.Worker, os.Getpid()
	// If the parent is gone, so is its end of in.
	_ = w.out.Encode(e)
}

func (w *worker) run(ctx context.Context) (err error) {
	if w.client, err = w.job.Etcd.Dial(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.client.Close()) }()
	w.session, err = lease.NewSession(ctx, w.client,
		lease.WithTTL(w.job.TTL),
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
	e, err := election.New(w.session, w.job.Name,
		election.WithOwner(w.job.Worker), election.WithGracePeriod(closeTimeout))
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
