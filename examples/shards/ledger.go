package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-go/conclave/shard"
)

// tenure is the time for which a member owned a shard. All members are in one process
// here, so there is one clock.
type tenure struct {
	owner    string
	o        *shard.Ownership
	from, to time.Time // to is zero until the owner has noted that it is over
}

// until returns when it was over, which an ownership that was lost knows exactly: when its
// owner comes to take note of that does not matter. It is in the future if it lasts.
func (t *tenure) until() time.Time {
	if t.to.IsZero() {
		return t.o.Deadline()
	}
	return t.to
}

// ledger has all tenures, by shard.
type ledger struct {
	mu     sync.Mutex
	shards map[shard.ID][]*tenure
	begun  chan struct{} // closed and replaced when one begins
}

func newLedger() *ledger {
	return &ledger{shards: make(map[shard.ID][]*tenure), begun: make(chan struct{})}
}

// noting returns a function that does what own does, noted in the ledger.
func (l *ledger) noting(owner string, own shard.OwnFunc) shard.OwnFunc {
	return func(ctx context.Context, o *shard.Ownership) error {
		t := l.begin(owner, o)
		defer l.end(t)
		return own(ctx, o)
	}
}

// begin notes that a member has been granted a shard.
func (l *ledger) begin(owner string, o *shard.Ownership) *tenure {
	t := &tenure{owner: owner, o: o, from: time.Now()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shards[o.Shard()] = append(l.shards[o.Shard()], t)
	close(l.begun)
	l.begun = make(chan struct{})
	return t
}

// await waits until each shard's last owner is whom a router says: that hears of it from
// etcd, perhaps before the owner does.
func (l *ledger) await(ctx context.Context, owners []string) error {
	for {
		l.mu.Lock()
		begun, behind := l.begun, false
		for id, owner := range owners {
			all := l.shards[shard.ID(id)]
			behind = behind || len(all) == 0 || all[len(all)-1].owner != owner
		}
		l.mu.Unlock()
		if !behind {
			return nil
		}
		select {
		case <-begun:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// end notes that a member has stopped serving a shard, and is about to let it go.
func (l *ledger) end(t *tenure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.o.Err() == nil { // else the deadline counts
		t.to = time.Now()
	}
}

// handOver is that a shard went from one owner to the next.
type handOver struct {
	shard    shard.ID
	from, to *tenure
	gap      time.Duration // in which nobody owned it
}

// since returns the shards that changed hands after a time. It fails if one ever had
// two owners at a time, or a token that was not higher than the one before.
func (l *ledger) since(began time.Time) (all []handOver, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, tenures := range l.shards {
		for i := 1; i < len(tenures); i++ {
			h := handOver{shard: id, from: tenures[i-1], to: tenures[i]}
			h.gap = h.to.from.Sub(h.from.until())
			if h.gap < 0 || h.to.o.Token() <= h.from.o.Token() {
				return nil, fmt.Errorf("shard %d: %s had it with token %s, %s after %s was granted it with token %s",
					id, h.from.owner, h.from.o.Token(), -h.gap, h.to.owner, h.to.o.Token())
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
