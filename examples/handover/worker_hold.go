package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
)

// errRefused is what a guarded write ends with when the guard was false.
var errRefused = errors.New("refused")

// hold uses the lock and gives it up, unless it is lost meanwhile.
func (w *worker) hold(ctx context.Context, h holding, use func(context.Context, holding) error) error {
	stopTelling := w.tell(h)
	defer stopTelling()
	if err := use(ctx, h); err != nil || isClosed(h.done()) {
		return err
	}
	stopTelling() // from here on the end of the hold is no loss
	w.report(event{Kind: released})
	if err := workers.UnlessDone(ctx, h.unlock(ctx)); err != nil {
		// Whether to go on is for the next Lock to tell.
		w.report(event{Kind: lost, Detail: err.Error()})
	}
	return nil
}

// tell reports the loss of the lock at the moment at which the holder is told. What
// it returns ends that, and may be called again.
func (w *worker) tell(h holding) (stop func()) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-end:
		case <-h.done():
		}
		if isClosed(h.done()) {
			w.report(event{Kind: lost, Detail: h.cause().Error(), Until: until(h)})
		}
	})
	return sync.OnceFunc(func() {
		close(end)
		wg.Wait()
	})
}

// until returns the deadline of a hold on the clock that all processes share. A pause
// between the two readings of the time makes it too early, never too late.
func until(h holding) int64 {
	at := process.Now()
	left := h.left()
	if left == 0 {
		return 0
	}
	return at + int64(left)
}

// use keeps the lock for as long as the job says, after a write under guard if it
// asks for that.
func (w *worker) use(ctx context.Context, h holding) error {
	if w.job.Resource != "" {
		if err := w.write(ctx, h); err != nil {
			return ignoreEnd(ctx, h, err)
		}
	}
	t := time.NewTimer(w.job.Hold)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-h.done():
	case <-t.C:
	}
	return nil
}

// linger writes under guard until the lock is lost, and then once more, as a
// process does that was stopped between a look at its lock and the write.
func (w *worker) linger(ctx context.Context, h holding) error {
	t := time.NewTicker(writeEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.done():
			w.writeLate(ctx, h)
			return nil
		case <-t.C:
		}
		w.report(event{Kind: keeps, Until: until(h)})
		if w.job.Resource == "" {
			continue
		}
		if err := w.writeWhileHeld(ctx, h); errors.Is(err, errRefused) {
			w.afterRefusal(ctx, h)
			return nil
		} else if ignoreEnd(ctx, h, err) != nil {
			return err
		}
	}
}

// writeWhileHeld is write, given up when the holder is told that it lost the lock.
func (w *worker) writeWhileHeld(ctx context.Context, h holding) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := make(chan struct{})
	defer close(end)
	go func() { // ends with the write
		select {
		case <-end:
		case <-h.done():
			cancel()
		}
	}()
	return w.write(ctx, h)
}

// write changes the resource in one transaction, if h still has the lock.
func (w *worker) write(ctx context.Context, h holding) error {
	resp, err := w.client.Txn(ctx).
		If(h.guard()...).
		Then(clientv3.OpPut(w.job.Resource, w.job.Worker+" "+h.token())).
		Commit()
	switch {
	case err != nil:
		return fmt.Errorf("guarded write: %w", err)
	case !resp.Succeeded:
		return errRefused
	}
	return nil
}

// writeLate is the write of a holder that has lost the lock.
func (w *worker) writeLate(ctx context.Context, h holding) {
	if w.job.Resource == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, staleTimeout)
	defer cancel()
	e := event{Kind: wrote}
	switch err := w.write(ctx, h); {
	case err == nil:
		e.OK = true
	case !errors.Is(err, errRefused):
		e.Detail = err.Error()
	}
	w.report(e)
}

// afterRefusal reports a refused write and waits until the holder is told why.
func (w *worker) afterRefusal(ctx context.Context, h holding) {
	w.report(event{Kind: wrote})
	select {
	case <-ctx.Done():
	case <-h.done():
	}
}

// ignoreEnd returns err unless the end of ctx or of the hold accounts for it.
func ignoreEnd(ctx context.Context, h holding, err error) error {
	if isClosed(h.done()) {
		return nil
	}
	return workers.UnlessDone(ctx, err)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
