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
	workerRole = "writer"
	// closeTimeout bounds the clean-up of writers and readers.
	closeTimeout = 5 * time.Second
	// retryAfter is how long a writer waits after an error.
	retryAfter = time.Second
)

// job is what a writer is told.
type job struct {
	Worker, Prefix string
	Change         change
	StayAfter      kind // the step after which it stays until it is told to go on
	TTL            time.Duration
	Etcd           cluster.Spec
}

// kind says what an event is about.
type kind string

const (
	queues    kind = "queues"    // a writer waits for the lock
	read      kind = "read"      // it has the lock and has read; Version, Token
	validated kind = "validated" // its change fits; Version
	written   kind = "written"   // it has written; Version, Detail
	waits     kind = "waits"     // it waits for the readers Detail; Version
	done      kind = "done"      // no more; Version
	refused   kind = "refused"   // its change does not fit; Detail
	troubled  kind = "troubled"  // it tries again later, because of Detail
	ended     kind = "ended"     // its process, or a reader, has; Detail unless it should
	joined    kind = "joined"    // a reader has registered
	applied   kind = "applied"   // it has switched; Version
)

// event is what a writer or a reader reports.
type event struct {
	At      int64
	Worker  string
	Kind    kind
	Version int
	Token   lock.Token
	Detail  string
}

// Time implements [workers.Event].
func (e event) Time() int64 { return e.At }

// when is the same on this process's clock.
func (e event) when() time.Time { return time.Now().Add(time.Duration(e.At - process.Now())) }

// runWorker is the program as a writer.
func runWorker(ctx context.Context, line *process.Line) error {
	w := &writer{}
	goOn := make(chan struct{}, 1)
	w.report = func(ctx context.Context, e event) error {
		e.At, e.Worker = process.Now(), w.job.Worker
		line.Report(e)
		if e.Kind != w.job.StayAfter {
			return nil
		}
		select { // here it may be killed
		case <-ctx.Done():
		case <-goOn:
		}
		return ctx.Err()
	}
	return line.Serve(ctx, &w.job, func(string) { goOn <- struct{}{} }, func(ctx context.Context) error {
		err := workers.UnlessDone(ctx, w.run(ctx))
		if err == nil {
			<-ctx.Done() // the parent says when the show is over
		}
		return err
	})
}

// run opens what a writer needs, makes the update, and closes it.
func (w *writer) run(ctx context.Context) (err error) {
	if w.client, err = w.job.Etcd.Dial(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.client.Close()) }()
	tell := lease.Observer{Waiting: func(lease.Event) { _ = w.report(ctx, event{Kind: queues}) }}
	session, err := lease.NewSession(ctx, w.client, lease.WithTTL(w.job.TTL), lease.WithObserver(tell))
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		err = errors.Join(err, session.Close(ctx))
	}()
	mutex, err := lock.NewMutex(session, w.job.Prefix+lockKey, lock.WithOwner(w.job.Worker))
	if err != nil {
		return err
	}
	for {
		err = mutex.Do(ctx, w.update)
		if err == nil || errors.Is(err, errInvalid) || ctx.Err() != nil {
			break
		}
		// The lock is lost, or a reply was. The writer begins anew, from what there is then:
		// it makes no difference whether that has the change already.
		_ = w.report(ctx, event{Kind: troubled, Detail: err.Error()})
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
	if errors.Is(err, errInvalid) {
		err = w.report(ctx, event{Kind: refused, Detail: err.Error()})
	}
	return err
}
