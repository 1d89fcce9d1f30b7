package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/conclave-go/conclave/lock"
)

// tenure is the time for which a member owned a shard. All members are in one process
// here, so there is one clock.
type tenure struct {
	owner    string
	hold     *lock.Hold
	from, to time.Time // to is zero until the owner has noted that it is over
}

// until returns when it was over, which a hold that was lost knows exactly: when its
// owner comes to take note of that does not matter. It is in the future if it lasts.
func (t *tenure) until() time.Time {
	if t.to.IsZero() {
		return t.hold.Deadline()
	}
	return t.to
}

// ledger has all tenures.
type ledger struct {
	mu     sync.Mutex
	shards [shards][]*tenure
}

// begin notes that a member has been granted a shard.
func (l *ledger) begin(shard int, owner string, h *lock.Hold) *tenure {
	t := &tenure{owner: owner, hold: h, from: time.Now()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shards[shard] = append(l.shards[shard], t)
	return t
}

// end notes that a member has stopped serving a shard, and is about to let it go.
func (l *ledger) end(t *tenure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.hold.Err() == nil { // else the deadline counts
		t.to = time.Now()
	}
}

// handOver is that a shard went from one owner to the next.
type handOver struct {
	shard    int
	from, to *tenure
	gap      time.Duration // in which nobody owned it
}

// since returns the shards that changed hands after a time. It fails if one ever had
// two owners at a time, or a token that was not higher than the one before.
func (l *ledger) since(began time.Time) (all []handOver, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for shard, tenures := range l.shards {
		for i := 1; i < len(tenures); i++ {
			h := handOver{shard: shard, from: tenures[i-1], to: tenures[i]}
			h.gap = h.to.from.Sub(h.from.until())
			if h.gap < 0 || h.to.hold.Token() <= h.from.hold.Token() {
				return nil, fmt.Errorf("shard %d: %s had it with token %s, %s after %s was granted it with token %s",
					shard, h.from.owner, h.from.hold.Token(), -h.gap, h.to.owner, h.to.hold.Token())
			}
			if h.to.from.After(began) && h.from.owner != h.to.owner {
				all = append(all, h)
			}
		}
	}
	return all, nil
}

// grants counts how often a shard was granted.
func (l *ledger) grants() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, tenures := range l.shards {
		n += len(tenures)
	}
	return n
}
