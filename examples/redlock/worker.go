package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/redlock"
)

const (
	// workerRole is the role of the processes that this program starts.
	workerRole = "worker"
	// closeTimeout bounds the worker's clean-up; its parent waits a little longer. What
	// cannot be removed by then, from nodes that are down, expires.
	closeTimeout = 300 * time.Millisecond
)

// worker takes the lock as it is asked, and reports each step.
type worker struct {
	job      job
	commands chan command
	mutex    *redlock.Mutex
	ledger   *ledger
	line     *process.Line
}

// command is what the worker was asked.
type command struct {
	line string
	*rest
}

// rest is a wish that the worker asks for the lock no more.
type rest struct {
	wished context.Context // done when it was expressed
	wish   context.CancelFunc
}

func newRest(ctx context.Context) *rest {
	r := &rest{}
	r.wished, r.wish = context.WithCancel(ctx)
	return r
}

// runWorker is the program as a worker.
func runWorker(ctx context.Context, line *process.Line) error {
	w := &worker{line: line, commands: make(chan command, 8)}
	next := newRest(ctx)
	told := func(line string) {
		if line == askRest { // it is meant for what was asked before
			next.wish()
			next = newRest(ctx)
			return
		}
		w.commands <- command{line, next}
	}
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

// run works on clients of its own.
func (w *worker) run(ctx context.Context) (err error) {
	if w.ledger, err = openLedger(w.job.Ledger); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.ledger.close()) }()
	clients, err := w.connect()
	defer func() {
		for _, c := range clients {
			err = errors.Join(err, c.Close())
		}
	}()
	if err != nil {
		return err
	}
	opts := []redlock.Option{redlock.WithTTL(w.job.TTL)}
	if w.job.MinUptime > 0 {
		opts = append(opts, redlock.WithMinUptime(w.job.MinUptime))
	}
	nodes, err := redlock.NewNodes(clients, opts...)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		_ = nodes.Close(closing) // only says that the time was up
	}()
	if w.mutex, err = redlock.NewMutex(nodes, w.job.Name); err != nil {
		return err
	}
	w.report(event{Kind: ready})
	return w.work(ctx)
}

// connect returns a client of each node. The caller closes them.
func (w *worker) connect() (clients []redis.UniversalClient, err error) {
	for i, node := range w.job.Nodes {
		opts, err := nodeOptions(node)
		if err != nil {
			return clients, err
		}
		if via := w.job.Via[i]; via != "" {
			opts.Addr = via
		}
		clients = append(clients, redis.NewClient(opts))
	}
	return clients, nil
}

// nodeOptions returns the settings of a client, with those that package redlock
// recommends.
func nodeOptions(node string) (*redis.Options, error) {
	opts := &redis.Options{Addr: node}
	if isURL(node) {
		var err error
		if opts, err = redis.ParseURL(node); err != nil {
			return nil, err
		}
	}
	opts.ContextTimeoutEnabled = true
	opts.DialerRetries = 1
	return opts, nil
}

// work does as it is asked until ctx ends.
func (w *worker) work(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-w.commands:
			if err := w.obey(ctx, c); err != nil {
				return err
			}
		}
	}
}

func (w *worker) obey(ctx context.Context, c command) error {
	switch c.line {
	case askOnce:
		return w.turn(ctx, ctx, w.use)
	case askStay:
		return w.turn(ctx, ctx, w.stay)
	case askOn:
		return w.askOn(ctx, c)
	}
	return nil // it came after the hold that it was for
}

// askOn takes the lock again and again until it is asked to rest.
func (w *worker) askOn(ctx context.Context, c command) error {
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(c.wished, cancel)
	defer stop()
	for asking.Err() == nil {
		if err := w.turn(ctx, asking, w.use); err != nil {
			return err
		}
	}
	w.report(event{Kind: rests})
	return nil
}
