package watchlab

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/conclave-go/conclave/watch"
)

// holder has a cache, and goroutines that use it in every way there is.
type holder struct {
	lab  *lab
	peer *peer
	plan CachePlan
	who  string
	scope

	cache     *watch.Cache[digest] // nil until it is loaded
	loaded    chan struct{}        // closed then
	changes   *changes             // nil if nobody follows them
	reconcile *reconciler          // nil if nobody does
	users     sync.WaitGroup

	mu      sync.Mutex
	samples []watch.Snapshot[digest] // not checked yet
	last    int64                    // the revision of the last one
	waiting map[int]wait             // who waits now, by number

	// Of the one that checks.
	at    int64
	state state
}

// wait is a call of WaitRevision under way.
type wait struct {
	revision int64
	since    time.Time
}

func newHolder(l *lab, p *peer, plan CachePlan, who string, d draw) *holder {
	h := &holder{
		lab: l, peer: p, plan: plan, who: who, scope: p.scope(plan.Range),
		loaded: make(chan struct{}), waiting: make(map[int]wait), state: state{},
	}
	if plan.Changes {
		h.changes = newChanges(h)
	}
	if plan.Reconcile > 0 {
		h.reconcile = newReconciler(h, d.Uint64())
	}
	return h
}

func (h *holder) options() []watch.CacheOption {
	opts := []watch.CacheOption{watch.WithStall(h.plan.Stall), watch.WithObserver(h.lab.tally.observer())}
	if h.key == "" {
		opts = append(opts, watch.WithKeyspace())
	}
	if h.plan.Buffer > 0 {
		opts = append(opts, watch.WithBuffer(h.plan.Buffer))
	}
	return opts
}

func (h *holder) decode(_ string, value []byte) (digest, error) {
	return h.lab.truth.of(value), nil
}

// run loads the cache, and uses it until ctx ends. Then it closes it.
func (h *holder) run(ctx context.Context) {
	acked := h.lab.acked.get()
	c, err := watch.NewCache(ctx, h.peer.client, h.key, h.decode, h.options()...)
	if err != nil {
		if ctx.Err() == nil {
			h.lab.journal.find(Errors, h.who, "the cache was not loaded: %v", err)
		}
		return
	}
	h.cache = c
	close(h.loaded)
	if at := h.sample().Revision(); at < acked {
		h.lab.journal.find(Snapshots, h.who, "loaded at %d: %d was there before", at, acked)
	}
	for i := range h.plan.Waiters {
		d := newDraw(h.lab.plan.Seed, uint64(i)+100)
		h.users.Go(func() { h.wait(ctx, i, d) })
	}
	if h.changes != nil {
		h.users.Go(func() { h.changes.follow(ctx) })
	}
	if h.reconcile != nil {
		h.users.Go(func() { h.reconcile.run(ctx) })
	}
	<-ctx.Done()
	h.close()
}

// close closes the cache at once, and waits for who has used it.
func (h *holder) close() {
	ctx, cancel := context.WithTimeout(context.Background(), guard)
	defer cancel()
	if err := h.cache.Close(ctx); err != nil {
		h.lab.journal.find(Stuck, h.who, "closing the cache: %v", err)
	}
	h.users.Wait()
	at := h.cache.Snapshot().Revision()
	if err := h.cache.WaitRevision(ctx, at+1); err == nil {
		h.lab.journal.find(Early, h.who, "WaitRevision(%d) of a closed cache at %d returns no error", at+1, at)
	}
}

// sample keeps what the cache has, to be checked.
func (h *holder) sample() watch.Snapshot[digest] {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.cache.Snapshot()
	if s.Revision() < h.last {
		h.lab.journal.find(Revisions, h.who, "the cache went back from %d to %d", h.last, s.Revision())
	}
	h.last = s.Revision()
	h.samples = append(h.samples, s)
	return s
}

// wait waits for one revision after another, some of which are not there yet.
func (h *holder) wait(ctx context.Context, number int, d draw) {
	for ctx.Err() == nil {
		revision := h.lab.acked.get() + int64(max(d.between(-3, 2), 0))
		h.waits(number, wait{revision, time.Now()})
		err := h.cache.WaitRevision(ctx, revision)
		h.waits(number, wait{})
		h.lab.tally.waits.Add(1)
		switch {
		case err != nil && ctx.Err() == nil:
			h.lab.journal.find(Errors, h.who, "WaitRevision(%d): %v", revision, err)
			return
		case err == nil:
			if at := h.sample().Revision(); at < revision {
				h.lab.journal.find(Early, h.who, "WaitRevision(%d) returns at %d", revision, at)
			}
		}
		pause(ctx, d.ms(0, 15))
	}
}

func (h *holder) waits(number int, w wait) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting[number] = w
}

func (h *holder) name() string { return h.who }

// reached asks the cache for a sample once it is there, and those who wait to have
// been told.
func (h *holder) reached(revision int64) (bool, string) {
	select {
	case <-h.loaded:
	default:
		return false, "it is not loaded"
	}
	if err := h.cache.Err(); err != nil {
		return false, fmt.Sprintf("it has stopped: %v", err)
	}
	if at, _ := h.cache.Freshness(); at < revision {
		return false, fmt.Sprintf("it is at %d", at)
	}
	if w, ok := h.late(revision); ok {
		return false, fmt.Sprintf("WaitRevision(%d) has not returned", w.revision)
	}
	if h.changes != nil {
		if ok, why := h.changes.reached(revision); !ok {
			return false, "Changes: " + why
		}
	}
	if h.reconcile != nil {
		if ok, why := h.reconcile.reached(revision); !ok {
			return false, "Reconcile: " + why
		}
	}
	h.sample()
	return true, ""
}

// late returns a call that should have returned by now.
func (h *holder) late(revision int64) (wait, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.waiting {
		if w.revision > 0 && w.revision <= revision {
			return w, true
		}
	}
	return wait{}, false
}

// verify checks the samples taken since the last time.
func (h *holder) verify() {
	h.mu.Lock()
	samples := h.samples
	h.samples = nil
	h.mu.Unlock()
	slices.SortFunc(samples, func(a, b watch.Snapshot[digest]) int { return int(a.Revision() - b.Revision()) })
	for _, s := range samples {
		h.lab.tally.snapshots.Add(1)
		if err := h.compare(s); err != nil {
			h.lab.journal.find(Snapshots, h.who, "the cache at %d: %v", s.Revision(), err)
			break
		}
	}
	if h.changes != nil {
		h.changes.verify()
	}
}

// compare wants the state of the store at the revision of s.
func (h *holder) compare(s watch.Snapshot[digest]) error {
	if last := h.lab.truth.revision(); s.Revision() > last {
		return fmt.Errorf("the store is at %d", last)
	}
	h.state.apply(h.lab.truth.between(h.scope, h.at, s.Revision())...)
	h.at = s.Revision()
	for key, item := range s.All() {
		if want, got := h.state[key], eventOf(key, item); want != got {
			return fmt.Errorf("%v, not %v", got, want)
		}
	}
	if s.Len() < len(h.state) {
		return fmt.Errorf("%d keys of %d", s.Len(), len(h.state))
	}
	return nil
}

// eventOf is the event that has made an item.
func eventOf(key string, item watch.Item[digest]) event {
	return event{
		key: key, value: item.Value, create: item.CreateRevision, mod: item.ModRevision,
		version: item.Version, lease: int64(item.Lease),
	}
}
