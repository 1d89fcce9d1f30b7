package watchlab

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/conclave-go/conclave/watch"
)

// Tally is what a bout, or several, consisted of.
type Tally struct {
	Bouts      int
	Deliveries int64 // events of streams and changes of caches that were compared
	Snapshots  int64 // of caches, compared key by key
	Waits      int64 // for revisions
	Runs       int64 // of reconcile functions
	Revisions  int64 // of the store
	Resyncs    int64
	Strikes    map[Fault]int
	Reopened   map[watch.Reason]int
}

// Add adds another tally.
func (t *Tally) Add(o Tally) {
	t.Bouts += o.Bouts
	t.Deliveries += o.Deliveries
	t.Snapshots += o.Snapshots
	t.Waits += o.Waits
	t.Runs += o.Runs
	t.Revisions += o.Revisions
	t.Resyncs += o.Resyncs
	if t.Strikes == nil {
		t.Strikes, t.Reopened = make(map[Fault]int), make(map[watch.Reason]int)
	}
	for f, n := range o.Strikes {
		t.Strikes[f] += n
	}
	for r, n := range o.Reopened {
		t.Reopened[r] += n
	}
}

// String says it in a few lines.
func (t *Tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d bouts: %d deliveries, %d snapshots, %d waits, %d runs, %d revisions, %d resyncs\n",
		t.Bouts, t.Deliveries, t.Snapshots, t.Waits, t.Runs, t.Revisions, t.Resyncs)
	b.WriteString("watches opened again:")
	for _, r := range slices.Sorted(maps.Keys(t.Reopened)) {
		fmt.Fprintf(&b, " %v %d", r, t.Reopened[r])
	}
	b.WriteString("\nfaults:")
	for _, f := range slices.Sorted(maps.Keys(t.Strikes)) {
		fmt.Fprintf(&b, " %v %d,", f, t.Strikes[f])
	}
	return strings.TrimSuffix(b.String(), ",")
}

// counter counts while a bout goes on.
type counter struct {
	deliveries, snapshots, waits, runs, resyncs atomic.Int64

	mu       sync.Mutex
	reopened map[watch.Reason]int
	strikes  map[Fault]int
}

func newCounter() *counter {
	return &counter{reopened: make(map[watch.Reason]int), strikes: make(map[Fault]int)}
}

func (c *counter) delivered(n int) { c.deliveries.Add(int64(n)) }

func (c *counter) struck(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.strikes[f]++
}

func (c *counter) observer() watch.Observer {
	return watch.Observer{
		Resynced: func(*watch.Progress) { c.resyncs.Add(1) },
		Reopened: func(_ *watch.Progress, why watch.Reason) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.reopened[why]++
		},
	}
}

func (c *counter) tally(revisions int64) Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Tally{
		Bouts: 1, Deliveries: c.deliveries.Load(), Snapshots: c.snapshots.Load(), Waits: c.waits.Load(), Runs: c.runs.Load(),
		Revisions: revisions, Resyncs: c.resyncs.Load(), Strikes: maps.Clone(c.strikes), Reopened: maps.Clone(c.reopened),
	}
}
