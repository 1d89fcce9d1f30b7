package watchlab

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/conclave-go/conclave/watch"
)

// changes follows the changes of a cache.
type changes struct {
	*holder

	mu      sync.Mutex
	pending []event          // not checked yet
	mirror  map[string]int64 // what follows from the changes: keys and their ModRevisions
	told    map[string]event // the last change of each key
}

func newChanges(h *holder) *changes {
	return &changes{holder: h, mirror: make(map[string]int64), told: make(map[string]event)}
}

// follow ends with ctx.
func (c *changes) follow(ctx context.Context) {
	var ended error
	later := false // something that is not initial has come
	for change, err := range c.cache.Changes(ctx) {
		switch {
		case ended != nil:
			c.lab.journal.find(After, c.who, "a change of %q after the error %v", change.Key, ended)
			return
		case err != nil:
			ended = err
			if ctx.Err() == nil || !errors.Is(err, ctx.Err()) && !errors.Is(err, watch.ErrClosed) {
				c.lab.journal.find(Errors, c.who, "the changes have ended: %v", err)
			}
			continue
		case change.Initial && later:
			c.lab.journal.find(Changes, c.who, "%q is initial, and comes after what is not", change.Key)
		}
		later = !change.Initial
		c.take(change)
		c.lab.tally.delivered(1)
		if at, _ := c.cache.Freshness(); at < change.Item.ModRevision {
			c.lab.journal.find(Changes, c.who, "a change of %q at %d while the cache is at %d", change.Key, change.Item.ModRevision, at)
		}
		pause(ctx, c.plan.Slow)
	}
}

// take notes a change.
func (c *changes) take(change watch.Change[digest]) {
	ev := eventOf(change.Key, change.Item)
	if change.Deleted {
		ev = event{key: change.Key, deleted: true, mod: change.Item.ModRevision}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = append(c.pending, ev)
	if ev.deleted {
		delete(c.mirror, ev.key)
	} else {
		c.mirror[ev.key] = ev.mod
	}
}

// reached wants what follows from the changes to be what the store has at a revision.
func (c *changes) reached(revision int64) (bool, string) {
	s := state{}
	s.apply(c.lab.truth.between(c.scope, 0, revision)...)
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, ev := range s {
		if c.mirror[key] != ev.mod {
			return false, fmt.Sprintf("%q is at %d, not %d", key, c.mirror[key], ev.mod)
		}
	}
	if len(c.mirror) > len(s) {
		return false, fmt.Sprintf("%d keys, not %d", len(c.mirror), len(s))
	}
	return true, ""
}

// verify checks that each change is one, and those of each key are in order.
func (c *changes) verify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 {
		return
	}
	history := make(map[string][]event)
	for _, ev := range c.lab.truth.between(c.scope, 0, c.lab.truth.revision()) {
		history[ev.key] = append(history[ev.key], ev)
	}
	for _, ev := range c.pending {
		if err := c.compare(ev, history[ev.key]); err != nil {
			c.lab.journal.find(Changes, c.who, "%v", err)
			break
		}
		c.told[ev.key] = ev
	}
	c.pending = nil
}

// compare looks for a change in the history of its key. The revision of a deletion may be one
// at which it was noticed, even that of the put after it.
func (c *changes) compare(ev event, history []event) error {
	last, known := c.told[ev.key]
	again := ev.mod == last.mod && last.deleted && !ev.deleted
	if known && ev.mod <= last.mod && !again {
		return fmt.Errorf("%v after %v", ev, last)
	}
	for _, h := range history {
		if h == ev || ev.deleted && h.deleted && h.mod > last.mod && h.mod <= ev.mod {
			return nil
		}
	}
	return fmt.Errorf("%v, after %v, is no change that was", ev, last)
}
