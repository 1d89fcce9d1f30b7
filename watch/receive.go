package watch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// ticks is into how many periods the time is divided after which a silent watch is
	// opened again; at the end of the second, third and fourth the server is asked.
	ticks = 5
	// maxPatience bounds how often that time is doubled: to a thousand times as much.
	maxPatience = 10
)

// watch opens a watch and fills the buffer from it. It returns why that ended.
func (f *follower) watch(ctx context.Context) error {
	w, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	f.buffer.hold(nil)
	f.progress.receive(w.created)
	f.refusals, f.pause = 0, firstPause
	return f.drain(ctx, w)
}

// open returns a watch that delivers everything above the position. It is opened from
// now first: the server catches up with one from an earlier revision only every
// 100 ms, and leaves all on its gRPC stream without a sign of life until the store
// has reached the start revision.
func (f *follower) open(ctx context.Context) (*leg, error) {
	w, err := openLeg(ctx, f, 0)
	if err != nil {
		return nil, err
	}
	switch {
	case f.position == unknown, f.lost && f.position < w.created:
		f.position, f.lost = w.created, false
		f.buffer.put(item{Batch: Batch{Revision: w.created}, gap: f.snapshot})
	case f.position < w.created:
		defer w.close() // late, so that the gRPC stream stays open
		return openLeg(ctx, f, f.position+1)
	case f.position > w.created:
		if err := f.checkFuture(ctx); err != nil {
			w.close()
			return nil, err
		}
	}
	f.lost = false
	return w, nil
}

// checkFuture returns a FutureRevisionError if the store has not reached the
// position.
func (f *follower) checkFuture(ctx context.Context) error {
	current, err := f.current(ctx)
	if err == nil && current < f.position {
		err = &FutureRevisionError{Requested: f.position + 1, Current: current}
	}
	return err
}

// drain fills the buffer from a watch until it ends.
func (f *follower) drain(ctx context.Context, w *leg) error {
	// Streams that ask at the same moment would all be answered, and each answer goes
	// to all of them.
	period := f.stall << f.patience / 2 / ticks
	ticker := time.NewTicker(period - rand.N(period/4))
	defer ticker.Stop()
	heard := false
	for quiet := 0; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case resp, ok := <-w.responses:
			if w.early && ok && resp.Err() == nil && len(resp.Events) == 0 && resp.Header.Revision <= w.created {
				continue
			}
			quiet, heard, f.patience = 0, true, 0
			if err := f.receive(ctx, resp, ok); err != nil {
				return err
			}
		case <-f.poke:
			w.ask(ctx, period)
		case <-ticker.C:
			w.early = false
			if quiet++; quiet == ticks {
				if w.history && !heard && f.patience < maxPatience {
					// A long history is one message, of which nothing shows
					// until all of it has arrived.
					f.patience++
				}
				return errSilent
			}
			if quiet > 1 { // at the first one nothing has been silent for a whole period
				w.ask(ctx, period)
			}
		}
	}
}

// receive puts what has come into the buffer.
func (f *follower) receive(ctx context.Context, resp clientv3.WatchResponse, ok bool) error {
	switch {
	case !ok:
		return errEnded
	case resp.CompactRevision != 0:
		return &CompactedError{Requested: f.position + 1, Compacted: resp.CompactRevision}
	case resp.Err() != nil:
		return fmt.Errorf("the server ended the watch: %w", resp.Err())
	}
	b := Batch{Revision: resp.Header.Revision, Events: after(resp.Events, f.position)}
	if n := len(resp.Events); n > 0 {
		b.Revision = resp.Events[n-1].Kv.ModRevision
	}
	f.progress.receive(b.Revision)
	if b.Revision < f.position && len(resp.Events) == 0 {
		return f.checkFuture(ctx)
	}
	if b.Revision <= f.position {
		return nil
	}
	f.position = b.Revision
	if !f.buffer.put(item{Batch: b}) {
		return errFull
	}
	return nil
}
