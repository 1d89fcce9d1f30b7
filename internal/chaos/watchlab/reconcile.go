package watchlab

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-go/conclave/watch"
)

// reconciler runs Reconcile on a cache.
type reconciler struct {
	*holder
	seed uint64

	mu      sync.Mutex
	running map[string]bool
	runs    map[string]int
	done    map[string]int64 // ModRevision that the last run has seen and dealt with; 0: no key
}

func newReconciler(h *holder, seed uint64) *reconciler {
	return &reconciler{holder: h, seed: seed, running: make(map[string]bool), runs: make(map[string]int), done: make(map[string]int64)}
}

// errOnPurpose is the error of one run in ten.
var errOnPurpose = errors.New("failed on purpose")

// run ends with ctx, or with the cache.
func (r *reconciler) run(ctx context.Context) {
	err := watch.Reconcile(ctx, r.cache, r.reconcile,
		watch.WithWorkers(r.plan.Reconcile), watch.WithBackoff(time.Millisecond, 50*time.Millisecond))
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) && !errors.Is(err, watch.ErrClosed) {
		r.lab.journal.find(Errors, r.who, "Reconcile has ended: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, running := range r.running {
		if running {
			r.lab.journal.find(Runs, r.who, "Reconcile has ended, and %q still runs", key)
		}
	}
}

func (r *reconciler) reconcile(ctx context.Context, key string) error {
	d, ok := r.begin(key)
	if !ok {
		return nil
	}
	item, ok := r.cache.Get(key)
	seen := item.ModRevision
	if !ok {
		seen = 0
	}
	pause(ctx, time.Duration(d.IntN(2000))*time.Microsecond)
	return r.end(key, seen, d)
}

func (r *reconciler) begin(key string) (d draw, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[key] {
		r.lab.journal.find(Runs, r.who, "%q runs twice at a time", key)
		return d, false
	}
	r.running[key] = true
	r.runs[key]++
	r.lab.tally.runs.Add(1)
	return newDraw(r.seed, uint64(r.runs[key])), true
}

func (r *reconciler) end(key string, seen int64, d draw) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[key] = false
	switch {
	case d.chance(90):
		r.done[key] = seen
		return nil
	case d.chance(50):
		panic(errOnPurpose)
	}
	return errOnPurpose
}

// reached wants the last run of each key to have seen what the store has at a revision.
func (r *reconciler) reached(revision int64) (bool, string) {
	s := state{}
	s.apply(r.lab.truth.between(r.scope, 0, revision)...)
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, ev := range s {
		if r.done[key] != ev.mod {
			return false, fmt.Sprintf("the last run of %q saw %d, not %d", key, r.done[key], ev.mod)
		}
	}
	for key, seen := range r.done {
		if _, ok := s[key]; !ok && seen != 0 {
			return false, fmt.Sprintf("the last run of %q saw %d: it is deleted", key, seen)
		}
	}
	return true, ""
}
