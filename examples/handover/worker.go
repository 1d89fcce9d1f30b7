package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
)

const (
	// workerRole is the role of the processes that this program starts.
	workerRole = "worker"
	// countEvery is how often a worker reports its RPCs, in case it is killed.
	countEvery = 200 * time.Millisecond
	// writeEvery is how often a worker that keeps the lock writes under it.
	writeEvery = 100 * time.Millisecond
	// closeTimeout bounds the worker's clean-up; its parent waits a little longer.
	closeTimeout = 2 * time.Second
	// staleTimeout bounds the last write of a holder that has lost the lock, which
	// in a partition arrives when that is over.
	staleTimeout = 30 * time.Second
)

// worker takes the lock again and again, and reports each step.
type worker struct {
	job     job
	client  *clientv3.Client
	locker  locker
	counter *cluster.Counter

	stay         atomic.Bool // keep the lock at the next grant
	acquisitions atomic.Int64

	line *process.Line
}

// runWorker is the program as a worker.
func runWorker(ctx context.Context, line *process.Line) error {
	w := &worker{line: line, counter: &cluster.Counter{}}
	told := func(line string) { w.stay.Store(line == stay) }
	return line.Serve(ctx, &w.job, told, w.run)
}

// report writes an event, stamped with the time unless it has one.
func (w *worker) report(e event) {
	if e.At == 0 {
		e.At = process.Now()
	}
	e.Worker, e.PID = w.job.Worker, os.Getpid()
	w.line.Report(e)
}

func (w *worker) reportCounts() {
	w.report(event{Kind: counts, RPCs: w.counter.Counts(), Acquisitions: int(w.acquisitions.Load())})
}

func (w *worker) run(ctx context.Context) error {
	client, err := w.job.Etcd.Dial(w.counter.DialOptions()...)
	if err != nil {
		return err
	}
	w.client = client
	if err := w.open(ctx); err != nil {
		return errors.Join(err, client.Close())
	}
	w.report(event{Kind: ready, TTL: w.locker.ttl()})
	var wg sync.WaitGroup
	counting, stop := context.WithCancel(ctx)
	wg.Go(func() { w.countRegularly(counting) })
	err = w.work(ctx)
	stop()
	wg.Wait()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err = errors.Join(err, w.locker.close(closing), client.Close())
	w.reportCounts()
	return err
}

func (w *worker) open(ctx context.Context) (err error) {
	waiting := func(key string) { w.report(event{Kind: waits, Key: key}) }
	if w.job.Library == official {
		w.locker, err = newOfficialLocker(w.client, w.job, waiting)
	} else {
		w.locker, err = newConclaveLocker(ctx, w.client, w.job, waiting)
	}
	return err
}

func (w *worker) countRegularly(ctx context.Context) {
	t := time.NewTicker(countEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			w.reportCounts()
		}
	}
}

// work goes on until ctx ends.
func (w *worker) work(ctx context.Context) error {
	for ctx.Err() == nil {
		w.report(event{Kind: wants})
		h, err := w.locker.lock(ctx)
		at := process.Now()
		if err != nil {
			return workers.UnlessDone(ctx, err)
		}
		w.acquisitions.Add(1)
		stays, use := w.stay.Swap(false), w.use
		if stays {
			use = w.linger
		}
		w.report(event{At: at, Kind: granted, Key: h.key(), Token: h.token(), Stays: stays, Until: until(h)})
		if err := w.hold(ctx, h, use); err != nil {
			return err
		}
	}
	return nil
}
