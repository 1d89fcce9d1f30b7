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
// owner last learned about the key. The value is not read.
type Judge func(kv *mvccpb.KeyValue, rev int64)

// List is the set of keys one lease's round looks at, with what their users share
// besides: the watch stream and background work. Use [New].
type List struct {
	ctx    context.Context // the lease's
	work   sync.WaitGroup
	hurry  chan struct{}
	stream stream

	mu    sync.Mutex
	items map[*Item]struct{}
	// slots holds the keys that Reserve must not give out: taken ones, for
	// which the value is nil, and those in doubt.
	slots map[string]*doubt
	// denied is set once the server refused the read of an empty list's key.
	denied bool
}

// New returns an empty list for the lease whose context is given.
func New(lease context.Context) *List {
	return &List{ctx: lease, hurry: make(chan struct{}, 1), items: make(map[*Item]struct{}), slots: make(map[string]*doubt)}
}

// Go runs fn in the background with a context that ends with the lease. After the
// lease's end it does nothing: the keys are the server's to remove then.
func (l *List) Go(fn func(ctx context.Context)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() == nil {
		l.work.Go(func() { fn(l.ctx) })
	}
}

// Wait waits for what Go has started. The lease must have ended.
func (l *List) Wait() {
	l.mu.Lock()   // after this, Go starts nothing more
	l.mu.Unlock() //nolint:staticcheck // a barrier, not a critical section
	l.work.Wait()
}

// Hurry asks for a round now: there is a sign that the lease, or a key, is gone.
func (l *List) Hurry() {
	select {
	case l.hurry <- struct{}{}:
	default:
	}
}

// Hurried delivers what Hurry asks for.
func (l *List) Hurried() <-chan struct{} { return l.hurry }

// Item is a key under observation.
type Item struct {
	list  *List
	key   string
	judge Judge
}

// doubt is a key of ours which may or may not exist.
type doubt struct {
	// acked is the create revision of the entry whose removal was not
	// confirmed, 0 if there is none.
	acked int64
	// unsettled counts puts that may still take effect, however late.
	unsettled int
}

// Add puts key on the list until the item is removed. judge is called with each
// look's finding, by the goroutine that looks.
func (l *List) Add(key string, judge Judge) *Item {
	it := &Item{list: l, key: key, judge: judge}
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

// Reserve returns the first of key(0), key(1), ... that is neither taken nor in
// doubt, and takes it. Keys are used again because a deleted key leaves a
// tombstone which every read of its range visits until compaction.
func (l *List) Reserve(key func(slot int) string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for slot := 0; ; slot++ {
		k := key(slot)
		if _, used := l.slots[k]; !used {
			l.slots[k] = nil
			return k
		}
	}
}

// Release gives back a reserved key whose entry is gone for certain. unsettled
// counts the puts to it whose outcome is unknown: with any, the key stays in
// doubt, since such a put may be applied later.
func (l *List) Release(key string, unsettled int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if unsettled > 0 {
		l.slots[key] = &doubt{unsettled: unsettled}
		return
	}
	delete(l.slots, key)
}

// Doubt gives back a reserved key whose entry, of create revision acked (0: none
// that we know of), may still be there. Every look from now on removes what it
// finds under the key; it is free again once nothing can appear any more.
func (l *List) Doubt(key string, acked int64, unsettled int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slots[key] = &doubt{acked: acked, unsettled: unsettled}
}

// Doubts returns how many keys are in doubt.
func (l *List) Doubts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, d := range l.slots {
		if d != nil {
			n++
		}
	}
	return n
}

// Len returns how many keys a look has to read.
func (l *List) Len() int { return l.Doubts() + l.observed() }

func (l *List) observed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.items)
}

// finding receives what a look found for one key.
type finding struct {
	key   string
	judge Judge
}

// findings returns what the next look has to read.
func (l *List) findings() []finding {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]finding, 0, len(l.items))
	for it := range l.items {
		all = append(all, finding{it.key, it.judge})
	}
	for key, d := range l.slots {
		if d != nil {
			all = append(all, finding{key, nil})
		}
	}
	return all
}

// absent notes that a key in doubt did not exist at revision rev. That proves
// nothing while a put may still arrive.
func (l *List) absent(key string, rev int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.slots[key]; d != nil && d.unsettled == 0 && rev >= d.acked {
		delete(l.slots, key)
	}
}

// Removed notes that the entry which a key in doubt had at create revision created
// is gone: deleted just now, or known not to exist. 0 stands for one whose revision
// was never learned, which has been deleted just now.
func (l *List) Removed(key string, created int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.slots[key]
	if d == nil {
		return
	}
	if created != 0 && created == d.acked {
		d.acked = 0
	} else {
		d.unsettled--
	}
	if d.acked == 0 && d.unsettled <= 0 {
		delete(l.slots, key)
	}
}
