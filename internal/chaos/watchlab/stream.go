package watchlab

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-go/conclave/watch"
)

// batch is what a stream has delivered at once, or how it began or ended.
type batch struct {
	begins   bool // a new stream, from revision start, or from now if that is 0
	start    int64
	revision int64
	snapshot bool
	resync   bool
	events   []event
	ended    error
	acked    int64 // what was known to be written when the stream was opened
}

// follower consumes a stream, and others after it, and keeps what they have delivered until
// it is checked.
type follower struct {
	lab  *lab
	peer *peer
	plan StreamPlan
	who  string
	scope
	check streamCheck

	mu      sync.Mutex
	batches []batch // not checked yet
	last    int64   // the revision of the last batch
}

func newFollower(l *lab, p *peer, plan StreamPlan, who string) *follower {
	f := &follower{lab: l, peer: p, plan: plan, who: who, scope: p.scope(plan.Range)}
	f.check = streamCheck{truth: l.truth, scope: f.scope, conflated: plan.Conflate, compacted: l.compacted.get, state: state{}}
	return f
}

// run consumes streams until ctx ends.
func (f *follower) run(ctx context.Context) {
	start := int64(0)
	for ctx.Err() == nil {
		err := f.consume(ctx, start)
		switch {
		case err == nil: // it has left the loop
			start = f.at() + 1
		case errors.Is(err, watch.ErrCompacted), errors.Is(err, watch.ErrFutureRevision):
			start = 0
			pause(ctx, 10*time.Millisecond)
		default:
			return
		}
		if f.plan.Snapshot {
			start = 0
		}
	}
}

// consume goes through one stream, and returns the error that has ended it.
func (f *follower) consume(ctx context.Context, start int64) (ended error) {
	f.keep(batch{begins: true, start: start, acked: f.lab.acked.get()})
	n := 0
	for b, err := range watch.Stream(ctx, f.peer.client, f.key, f.options(start)...) {
		if ended != nil {
			f.lab.journal.find(After, f.who, "revision %d, error %v after the error %v", b.Revision, err, ended)
			return ended
		}
		if err != nil {
			ended = err
			f.end(ctx, err)
			continue
		}
		f.keep(f.batch(b))
		if n++; n == f.plan.Leaves {
			return nil
		}
		f.dawdle(ctx, len(b.Events))
	}
	if ended == nil {
		f.lab.journal.find(Errors, f.who, "the stream is over without an error")
		return errors.New("over")
	}
	return ended
}

// end notes the error of a stream, which must be one that is promised.
func (f *follower) end(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
	case !f.plan.Snapshot && errors.Is(err, watch.ErrCompacted):
		f.keep(batch{ended: err})
	default:
		f.lab.journal.find(Errors, f.who, "the stream has ended: %v", err)
	}
}

func (f *follower) batch(b watch.Batch) batch {
	return batch{
		revision: b.Revision, snapshot: b.Snapshot, resync: b.Resync,
		events: f.lab.truth.convertAll(b.Events),
	}
}

func (f *follower) keep(b batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches = append(f.batches, b)
	if b.revision > 0 {
		f.last = b.revision
	}
}

// dawdle is what the consumer does with a batch.
func (f *follower) dawdle(ctx context.Context, events int) {
	if f.plan.Slow > 0 && events > 0 {
		pause(ctx, min(time.Duration(events)*f.plan.Slow, mostDawdled))
	}
}

// mostDawdled bounds what a consumer takes for a batch.
const mostDawdled = 300 * time.Millisecond

func (f *follower) options(start int64) []watch.Option {
	opts := []watch.Option{watch.WithStall(f.plan.Stall), watch.WithObserver(f.lab.tally.observer())}
	if f.plan.Buffer > 0 {
		opts = append(opts, watch.WithBuffer(f.plan.Buffer))
	}
	switch {
	case f.prefix && f.key == "":
		opts = append(opts, watch.WithKeyspace())
	case f.prefix:
		opts = append(opts, watch.WithPrefix())
	}
	if f.plan.Snapshot {
		opts = append(opts, watch.WithSnapshot())
	}
	if f.plan.Conflate {
		opts = append(opts, watch.WithConflation())
	}
	if start > 0 {
		opts = append(opts, watch.WithRevision(start))
	}
	return opts
}

func (f *follower) at() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// name and reached are what the lab asks of everybody.
func (f *follower) name() string { return f.who }

func (f *follower) reached(revision int64) (bool, string) {
	at := f.at()
	return at >= revision, fmt.Sprintf("it is at %d", at)
}

// verify checks what was delivered since the last time.
func (f *follower) verify() {
	f.mu.Lock()
	batches := f.batches
	f.batches = nil
	f.mu.Unlock()
	for _, b := range batches {
		f.lab.tally.delivered(len(b.events))
		if check, err := f.check.next(b); err != nil {
			f.lab.journal.find(check, f.who, "%v", err)
		}
	}
}
