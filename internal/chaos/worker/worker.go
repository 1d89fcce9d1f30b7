package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/clock"
)

// Worker takes a lock again and again. Its fields are set before Run.
type Worker struct {
	Name   string
	PID    int // 0 in virtual time
	Locker Locker
	// Register is nil where locks have no guard in etcd.
	Register Register
	// Plain is the same without a guard, nil to leave it out.
	Plain    Register
	Resource *Client
	Gate     *Gate
	// Now reads the clock that all share, Emit takes what the worker reports.
	Now  func() int64
	Emit func(history.Event)
	// Hold is for how long the lock is kept, Think the time until the next about.
	Hold, Think time.Duration
	// Sample is how often the hold is asked whether it is valid.
	Sample time.Duration
	// Patience bounds calls that might hang, such as an Unlock.
	Patience time.Duration
	// GiveUp is after what time on average a worker that waits for the lock asks anew; 0
	// is never.
	GiveUp time.Duration
	Random *rand.Rand

	seq int
}

// Run works until ctx ends.
func (w *Worker) Run(ctx context.Context) {
	w.report(history.Event{Kind: history.Ready})
	for ctx.Err() == nil {
		w.turn(ctx)
		rest(ctx, w.about(w.Think))
	}
}

// asking returns the context of one Lock.
func (w *Worker) asking(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.GiveUp == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, w.about(w.GiveUp))
}

// about returns a time of d on average.
func (w *Worker) about(d time.Duration) time.Duration {
	return d/2 + time.Duration(w.Random.Int64N(int64(d)+1))
}

// rest waits for d or for the end of ctx.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// report stamps an event, unless it has a time, and passes it on.
func (w *Worker) report(e history.Event) {
	if e.At == 0 {
		e.At = w.Now()
	}
	e.Worker, e.PID = w.Name, w.PID
	w.Emit(e)
}

// turn takes the lock, works, and gives it up.
func (w *Worker) turn(ctx context.Context) {
	w.report(history.Event{Kind: history.Wants})
	call := w.Now()
	asking, cancel := w.asking(ctx)
	h, err := w.Locker.Lock(asking)
	at := w.Now()
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			w.report(history.Event{Kind: history.Failed, Detail: err.Error()})
		}
		return
	}
	w.seq++
	s := &section{Worker: w, hold: h, id: fmt.Sprintf("%s-%d", w.Name, w.seq), token: h.Token()}
	e := history.Event{At: at, Call: call, Kind: history.Granted, Hold: s.id, Token: s.token, Key: h.Key()}
	e.Until = w.deadline(h)
	w.report(e)
	if h.Phantom() {
		w.report(history.Event{Kind: history.Phantom, Hold: s.id})
	}
	stop := s.watch()
	s.work(ctx)
	stop()
	s.release(ctx)
}

// deadline returns the deadline on the shared clock, not later than it is; 0 if there is
// none. The worker's own clock may run at another rate. A reading during which the process was stopped is taken again.
func (w *Worker) deadline(h Hold) (at int64) {
	const quick, tries = int64(200 * time.Microsecond), 5
	for range tries {
		before := w.Now()
		left, ok := h.Remaining()
		if !ok {
			return 0
		}
		at = before + int64(float64(left)/clock.Rate())
		if w.Now()-before < quick {
			break
		}
	}
	return at
}
