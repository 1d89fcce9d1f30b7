package main

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/redlock"
)

// holding is the lock while the worker has it.
type holding struct {
	*redlock.Hold

	seen uint64        // what the ledger said when the lock was granted
	lost chan struct{} // closed when the loss has been reported
}

// turn takes the lock, unless asking ends first, works under it, and gives it up.
func (w *worker) turn(ctx, asking context.Context, work func(context.Context, *holding) error) error {
	w.report(event{Kind: wants})
	hold, err := w.mutex.Lock(asking)
	at := process.Now()
	if err != nil {
		return workers.UnlessDone(asking, err)
	}
	h := &holding{Hold: hold, lost: make(chan struct{})}
	w.report(event{At: at, Kind: granted, Until: at + int64(h.Remaining())})
	w.tell(h)
	if h.seen, err = w.ledger.read(); err == nil {
		err = work(asking, h)
	}
	w.giveUp(ctx, h)
	return err
}

// tell reports the loss of the lock at the moment at which the holder is told, and
// when it was.
func (w *worker) tell(h *holding) {
	context.AfterFunc(h.Context(), func() {
		if cause := h.Err(); !errors.Is(cause, redlock.ErrReleased) {
			at := process.Now()
			w.report(event{At: at, Kind: lost, Until: at + int64(h.Remaining()), Detail: cause.Error()})
			close(h.lost)
		}
	})
}

// giveUp ends the hold, unless that has happened.
func (w *worker) giveUp(ctx context.Context, h *holding) {
	at := process.Now()
	until := at + int64(h.Remaining()) // a pause before this makes it too early, never too late
	if h.Err() != nil {
		<-h.lost
		return
	}
	w.report(event{At: at, Kind: released, Until: until})
	// If that fails, whether to go on is for the next Lock to tell.
	w.report(timed(ctx, unlocked, h.Unlock))
}

// timed calls something and makes an event of how that went.
func timed(ctx context.Context, k kind, call func(context.Context) error) event {
	began := time.Now()
	err := call(ctx)
	e := event{Kind: k, Took: time.Since(began), OK: err == nil}
	if err != nil {
		e.Detail = err.Error()
	}
	return e
}

// use keeps the lock for as long as the job says, and then writes.
func (w *worker) use(ctx context.Context, h *holding) error {
	t := time.NewTimer(w.job.Hold)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-h.Context().Done():
	case <-t.C:
	}
	if h.Err() != nil {
		return nil
	}
	return w.write(h)
}

func (w *worker) write(h *holding) error {
	if err := w.ledger.write(h.seen + 1); err != nil {
		return err
	}
	w.report(event{Kind: wrote})
	return nil
}

// stay keeps the lock until it is lost or asked for.
func (w *worker) stay(ctx context.Context, h *holding) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.lost:
			return nil
		case c := <-w.commands:
			switch c.line {
			case askUnlock:
				return nil
			case askExtend:
				w.report(timed(ctx, extended, h.Extend))
			case askCheck:
				if err := w.checkAndWrite(ctx, h); err != nil {
					return err
				}
			}
		}
	}
}

// checkAndWrite asks the hold and then writes, as it should be done. Between the two
// it waits for the parent, as others wait for the disk, the network, the collector of
// garbage or the scheduler.
func (w *worker) checkAndWrite(ctx context.Context, h *holding) error {
	ok := h.Err() == nil
	w.report(event{Kind: checked, OK: ok})
	if !ok {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-w.commands: // askWrite
		return w.write(h)
	}
}
