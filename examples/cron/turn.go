package main

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

const (
	// pageTime is how long a page takes to write.
	pageTime = 50 * time.Millisecond
	// retryAfter is how long a process leaves a job alone after an error.
	retryAfter = time.Second
)

// runner is one process's part in all jobs.
type runner struct {
	job     assignment
	client  *clientv3.Client
	session *lease.Session
	gate    gate
	report  func(event)
}

// keep takes turns at a job with the other processes, until ctx ends. When its time is
// up, by each one's own clock, who comes first does the run; the others queue for the
// lock, find nothing left to do, and would be the ones to resume it.
func (r *runner) keep(ctx context.Context, j job) error {
	mutex, err := lock.NewMutex(r.session, r.job.Prefix+lockKey+j.name, lock.WithOwner(r.job.Worker))
	if err != nil {
		return err
	}
	for {
		var next time.Time
		err := mutex.Do(ctx, func(_ context.Context, h *lock.Hold) (err error) {
			// The context that is left out ends with the lock; work that can be stopped takes
			// it. This work stands for what cannot: the guard alone keeps it from doing harm.
			next, err = r.turn(ctx, h, j)
			return err
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errTwice):
			return err
		case err != nil:
			// Another has the run by now, or a reply was lost, and the page is stored or not:
			// the next turn begins with what etcd has.
			r.report(event{Kind: troubled, Detail: err.Error()})
			next = time.Now().Add(retryAfter)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(next)):
		}
	}
}

// turn does what is due of a job, of which this process has the lock, and returns when
// it is due again.
func (r *runner) turn(ctx context.Context, h *lock.Hold, j job) (time.Time, error) {
	rec, err := r.load(ctx, j)
	if err != nil {
		return time.Time{}, err
	}
	if rec.Slot.IsZero() { // the job is new: it is due from now on
		rec = record{Job: j.name, Slot: time.Now().UTC(), Done: true}
		return j.schedule.Next(rec.Slot), r.store(ctx, h, rec)
	}
	if rec.Done {
		slot, missed := j.due(rec.Slot, time.Now().UTC())
		if slot.IsZero() {
			return j.schedule.Next(rec.Slot), nil
		}
		rec = record{Job: j.name, Slot: slot, Missed: missed}
	}
	return j.schedule.Next(rec.Slot), r.write(ctx, h, j, rec)
}

// write writes the pages that a run still lacks.
func (r *runner) write(ctx context.Context, h *lock.Hold, j job, rec record) error {
	for !rec.Done {
		if err := r.work(ctx, h, rec); err != nil {
			return err
		}
		rec.Pages = append(rec.Pages, page{r.job.Worker, h.Token()})
		rec.Done = len(rec.Pages) == j.pages
		err := r.store(ctx, h, rec)
		if errors.Is(err, lock.ErrLost) {
			r.report(event{Kind: refused, Record: rec, Detail: err.Error()})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// work is the work on a page. Before the third one a process can be made to stay.
func (r *runner) work(ctx context.Context, h *lock.Hold, rec record) error {
	if len(rec.Pages) == stayAfter {
		if open := r.gate.barrier(); open != nil {
			r.report(event{Kind: stays, Record: rec, Token: h.Token()})
			select {
			case <-ctx.Done():
			case <-open:
			}
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pageTime):
		return nil
	}
}
