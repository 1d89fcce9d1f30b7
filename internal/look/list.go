// Package look keeps what a lease's round looks at: keys that somebody relies
// on, and keys whose fate is not known.
package look

import (
	"context"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Judge is told how a key stood at revision rev: kv is nil if it did not exist.
// It must not block, and has to ignore a revision below the one at which its
// owner last learned about the key. Neither the value nor the lease is read.
type Judge func(kv *mvccpb.KeyValue, rev int64)

// List is the set of keys one lease's round looks at, with what their users share
// besides: the watch stream and background work. Use [New].
type List struct {
	ctx     context.Context // the lease's
	work    sync.WaitGroup
	hurry   chan struct{}
	soon    chan struct{}
	streams streams

	telling sync.Mutex // held while judges are called

	mu    sync.Mutex
	items map[*Item]struct{}
	// removals counts those under way, and removed is closed when there are none any more.
	removals int
	removed  chan struct{}
	slots    map[string]*Slot
	// renewals are told of each attempt to renew the lease.
	renewals map[chan struct{}]struct{}
	// maxOps is how many keys one transaction may read.
	maxOps int
	// apart are keys that could not be read: 0 is for one that could not together with others,
	// and those that could not alone are numbered, in the order of the last time.
	apart map[string]int
	turn  int // the last of these numbers
	// readApart is how many of them a step reads; 0 is for 1.
	readApart int
	// probed is a key to read when a look has none that it can read; empty if no such is known.
	probed string
}

// New returns an empty list for the lease whose context is given.
func New(lease context.Context) *List {
	return &List{
		ctx: lease, hurry: make(chan struct{}, 1), soon: make(chan struct{}, 1), maxOps: defaultMaxOps,
		items: make(map[*Item]struct{}), slots: make(map[string]*Slot), apart: make(map[string]int), probed: probeKey,
	}
}

// Go runs fn in the background with a context that ends with the lease, and reports
// whether it does: not after the lease's end, when the keys are the server's to remove.
func (l *List) Go(fn func(ctx context.Context)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return false
	}
	l.work.Go(func() { fn(l.ctx) })
	return true
}

// Remove is Go for the removal of something: who closes the lease waits for it a little,
// see AwaitRemovals.
func (l *List) Remove(fn func(ctx context.Context)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return false
	}
	if l.removals == 0 {
		l.removed = make(chan struct{})
	}
	l.removals++
	l.work.Go(func() {
		defer l.removalDone()
		fn(l.ctx)
	})
	return true
}

func (l *List) removalDone() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.removals--; l.removals == 0 {
		close(l.removed)
	}
}

// AwaitRemovals waits until no removal is under way, or ctx has ended.
func (l *List) AwaitRemovals(ctx context.Context) {
	l.mu.Lock()
	under, removed := l.removals > 0, l.removed
	l.mu.Unlock()
	if !under {
		return
	}
	select {
	case <-removed:
	case <-ctx.Done():
	}
}

// End tells everybody on the list that the lease has ended, and returns when they
// know and what Go has started is over.
func (l *List) End() {
	l.mu.Lock()
	ended := make([]func(), 0, len(l.items))
	for it := range l.items {
		if it.ended != nil {
			ended = append(ended, it.ended)
		}
	}
	l.mu.Unlock() // from here on Go starts nothing more
	for _, fn := range ended {
		fn()
	}
	l.streams.end()
	l.work.Wait()
}

// Load returns how many keys the list has something to do with.
func (l *List) Load() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(len(l.slots), len(l.items))
}

// Hurry asks for a round now: there is a sign that the lease, or a key, is gone.
func (l *List) Hurry() {
	select {
	case l.hurry <- struct{}{}:
	default:
	}
}

// Renewals returns a channel that receives when an attempt to renew the lease begins, for
// what has to live in step with it, until stop is called.
func (l *List) Renewals() (renewing <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewals == nil {
		l.renewals = make(map[chan struct{}]struct{})
	}
	l.renewals[c] = struct{}{}
	return c, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.renewals, c)
	}
}

// Renewing tells who asked with Renewals.
func (l *List) Renewing() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.renewals {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Hurried delivers what Hurry asks for.
func (l *List) Hurried() <-chan struct{} { return l.hurry }

// Soon asks for a round like Hurry, for a sign so weak that many of its kind share one.
func (l *List) Soon() {
	select {
	case l.soon <- struct{}{}:
	default:
	}
}

// Wanted delivers what Soon asks for.
func (l *List) Wanted() <-chan struct{} { return l.soon }

// Item is a key under observation.
type Item struct {
	list  *List
	key   string
	judge Judge
	gone  func() // instead of judge, of who expects an entry
	ended func()
	// created is set if only the absence of the entry of that create revision is of interest.
	created int64
	// missed is set if it is not known whether that is there, since a comparison of many has
	// failed: until it is, looks read the key. It is protected by the list's mu.
	missed bool
}

// Add puts key on the list until the item is removed. judge is called with each
// look's finding, by the goroutine that looks. ended, if not nil, is called when the
// lease has ended, before it is revoked.
func (l *List) Add(key string, judge Judge, ended func()) *Item {
	return l.add(&Item{list: l, key: key, judge: judge, ended: ended})
}

// Expect is Add for who only wants to know whether the entry of create revision created is
// under key: gone is called when a look finds that it is not, and must not block. That costs a
// look less.
func (l *List) Expect(key string, created int64, gone, ended func()) *Item {
	return l.add(&Item{list: l, key: key, gone: gone, ended: ended, created: created})
}

// expects returns the create revision of the entry that is to be compared, 0 if the key is to
// be read. The list's mu must be held.
func (it *Item) expects() int64 {
	if it.missed {
		return 0
	}
	return it.created
}

// distrust has the next look, too, read what was compared, and not found as it should be: this
// one may have no time for that.
func (l *List) distrust(expected []finding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range expected {
		for _, it := range f.items {
			it.missed = true
		}
	}
}

// tell tells the judge how the key stood, or who expects an entry that it is gone.
func (it *Item) tell(kv *mvccpb.KeyValue, rev int64) {
	if it.gone == nil {
		it.judge(kv, rev)
		return
	}
	missed := rev >= it.created && kv.GetCreateRevision() != it.created
	it.list.mu.Lock()
	it.missed = missed
	it.list.mu.Unlock()
	if missed {
		it.gone()
	}
}

func (l *List) add(it *Item) *Item {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items[it] = struct{}{}
	return it
}

// Remove takes the item off the list. A look that is under way may still call
// its judge.
func (it *Item) Remove() {
	it.list.mu.Lock()
	defer it.list.mu.Unlock()
	delete(it.list.items, it)
}
