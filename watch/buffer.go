package watch

import (
	"context"
	"slices"
	"sync"

	"github.com/conclave-go/conclave/internal/attempt"
)

// buffer holds what was received and not yet consumed. One goroutine fills it and one
// empties it.
type buffer struct {
	limit    int
	conflate bool
	filled   chan struct{} // holds a token when something was added
	emptied  chan struct{} // holds a token when something was removed

	mu      sync.Mutex
	in      []item // what was added since the consumer turned to out
	out     []item // what comes before that
	next    int    // the first of out that was not taken
	size    int
	floor   int64 // nothing up to this revision is wanted
	epoch   int   // how often it was reset
	trouble error // what keeps the next item from coming, while it does
	err     error // what comes after the last item
}

func newBuffer(limit int, conflate bool) *buffer {
	return &buffer{limit: limit, floor: unknown, conflate: conflate, filled: make(chan struct{}, 1), emptied: make(chan struct{}, 1)}
}

// signal puts a token into ch unless it has one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// put adds a batch, or a gap, and reports whether there is room for more.
func (b *buffer) put(it item) (room bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trouble = nil
	if it.Revision <= b.floor && !it.gap {
		return true
	}
	it.Events, it.epoch = after(it.Events, b.floor), b.epoch
	b.add(it)
	signal(b.filled)
	return b.size < b.limit
}

// add appends a batch, or makes it part of the last one. mu must be held.
func (b *buffer) add(it item) {
	if b.conflate && it.gap { // what is read then is later than all that is here
		for _, old := range slices.Concat(b.out[b.next:], b.in) {
			it.anew = it.anew || old.anew
		}
		b.in, b.out, b.next, b.size = nil, nil, 0, 0
	}
	if len(b.in) == 0 || !b.joins(it) {
		b.in = append(b.in, item{gap: it.gap, conflate: b.conflate})
	}
	last := &b.in[len(b.in)-1]
	last.anew, last.cluster, last.epoch = last.anew || it.anew, it.cluster, it.epoch
	b.size -= last.size
	last.add(it.Batch)
	b.size += last.size
}

// joins reports whether a batch can become part of the last one. Without that, news that
// nothing happened would pile up for a consumer that does not ask. mu must be held.
func (b *buffer) joins(it item) bool {
	if b.in[len(b.in)-1].gap {
		return it.gap
	}
	return !it.gap && (b.conflate || len(it.Events) == 0)
}

// take removes the first batch, for which it waits.
func (b *buffer) take(ctx context.Context) (it item, err error) {
	for ctx.Err() == nil {
		if it, ok, err := b.pop(); ok || err != nil {
			return it, err
		}
		select {
		case <-b.filled:
		case <-ctx.Done():
		}
	}
	return item{}, b.ended(ctx)
}

func (b *buffer) ended(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return attempt.Ended(ctx, b.trouble)
}

// pop removes the first batch if there is one, and otherwise returns why there never
// will be.
func (b *buffer) pop() (it item, ok bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == len(b.out) {
		b.in, b.out, b.next = b.out[:0], b.in, 0
	}
	if len(b.out) == 0 {
		return item{}, false, b.err
	}
	it, b.out[b.next] = b.out[b.next], item{}
	b.next++
	b.size -= it.size
	signal(b.emptied)
	it.compact()
	return it, true, nil
}

// skip removes what is not above revision, also from what comes later, unless the buffer
// was reset since epoch: then the revision is of another history.
func (b *buffer) skip(revision int64, epoch int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.epoch != epoch {
		return
	}
	b.floor, b.size = revision, 0
	all := slices.Concat(b.out[b.next:], b.in)
	b.in, b.out, b.next = nil, nil, 0
	for _, it := range all {
		if it.Revision > revision {
			it.skip(revision)
			b.in = append(b.in, it)
			b.size += it.size
		}
	}
	signal(b.emptied)
}

// reset removes everything: another history begins.
func (b *buffer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.in, b.out, b.next, b.size = nil, nil, 0, 0
	b.floor = unknown
	b.epoch++
	signal(b.emptied)
}

// left reports whether the buffer was reset since epoch, or else why nothing more will come.
func (b *buffer) left(epoch int) (over bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.epoch != epoch {
		return true, nil
	}
	return false, b.err
}

// awaitRoom waits until half of the buffer is free, or ctx ends.
func (b *buffer) awaitRoom(ctx context.Context) {
	for ctx.Err() == nil && !b.hasRoom() {
		select {
		case <-b.emptied:
		case <-ctx.Done():
		}
	}
}

func (b *buffer) hasRoom() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size <= b.limit/2
}

// wanted returns the revision above which events are wanted.
func (b *buffer) wanted() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.floor
}

// hold notes what keeps the next batch from coming.
func (b *buffer) hold(trouble error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trouble = trouble
}

// end makes take fail with err once the buffer is empty.
func (b *buffer) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	signal(b.filled)
}
