package watch

import (
	"context"
	"fmt"
	"iter"

	"github.com/conclave-go/conclave/internal/attempt"
)

// Change is a change of one key of a [Cache].
type Change[T any] struct {
	// Key is the key.
	Key string
	// Item is what the cache has for it. If the key was deleted, it is what the cache had
	// before, with Version 0 and with the revision of the delete as ModRevision or, if that
	// was lost to a compaction, the revision at which the delete was noticed.
	Item Item[T]
	// Deleted says that the key was deleted.
	Deleted bool
	// Initial says that this is the state the cache had when the iteration began.
	Initial bool
	// Rebuilt says that the store is no longer the one it was, see [WithRebuild], and that
	// this is part of the state the cache started over with, or a key that is not in it.
	// All earlier keys have been reported as deleted before, or are Deleted.
	Rebuilt bool
}

// Changes replays the current state in key order, then follows. The changes of one key come
// in order, and the last of them is the state the cache has; those of different keys come
// in the order of their last revisions. [Cache.Get] is never behind what has been
// delivered.
//
// A consumer that does not keep up misses what a newer change has replaced, but never the
// newest: the backlog of all slow consumers together is at most twice the number of keys
// that exist or that the slowest has seen. A key that was created and deleted in between
// may be reported only as deleted, or not at all. Neither the cache nor another consumer
// waits for a slow one.
//
// The error is ctx's if that ends, otherwise that of the cache, when it stops and all
// changes were delivered. An iteration runs in the caller's goroutine and has none of its
// own. The sequence may be used again, and then starts over.
func (c *Cache[T]) Changes(ctx context.Context) iter.Seq2[Change[T], error] {
	return func(yield func(Change[T], error) bool) {
		initial, r := c.join()
		defer c.leave(r)
		for key, item := range initial.All() {
			if ctx.Err() != nil {
				break
			}
			if !yield(Change[T]{Key: key, Item: item, Initial: true}, nil) {
				return
			}
		}
		var zero Change[T]
		for {
			due, rebuilt, err := c.await(ctx, r)
			if err != nil {
				yield(zero, err)
				return
			}
			for _, e := range due {
				if ctx.Err() != nil {
					break
				}
				if !yield(Change[T]{Key: e.key, Item: e.Item, Deleted: e.deleted(), Rebuilt: rebuilt.includes(e.at)}, nil) {
					return
				}
			}
		}
	}
}

// join adds a reader that has read the state it returns.
func (c *Cache[T]) join() (Snapshot[T], *reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshot(), c.history.join(c.now())
}

func (c *Cache[T]) leave(r *reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history.leave(r)
}

// await waits until r has something to read, and returns it, and which entries are from
// the state with which revisions began anew.
func (c *Cache[T]) await(ctx context.Context, r *reader) (due []*entry[T], rebuilt period, err error) {
	for {
		c.mu.RLock()
		due, more := c.history.next(r, &c.table, c.now())
		changed, rebuilt, err := c.changed, c.rebuilt, c.err
		c.mu.RUnlock()
		switch {
		case ctx.Err() != nil:
			return nil, rebuilt, fmt.Errorf("watch: following the changes: %w", ended(ctx))
		case len(due) > 0:
			return due, rebuilt, nil
		case more:
			continue
		case err != nil:
			return nil, rebuilt, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// Snapshots yields the state as a whole: at once, which is the complete state, and again
// whenever a key has changed since. Use it to derive something from all keys together.
// Changes that come while the loop works are combined into one: a consumer is never behind
// by more than the state it is working on, and nothing waits for it.
//
// The error is ctx's if that ends, otherwise that of the cache when it stops, after its
// last state.
func (c *Cache[T]) Snapshots(ctx context.Context) iter.Seq2[Snapshot[T], error] {
	return func(yield func(Snapshot[T], error) bool) {
		for seen := int64(-1); ; {
			s, edits, changed, err := c.whole()
			switch {
			case ctx.Err() != nil:
				yield(Snapshot[T]{}, fmt.Errorf("watch: following the state: %w", ended(ctx)))
				return
			case edits != seen:
				if !yield(s, nil) {
					return
				}
				seen = edits
				continue
			case err != nil:
				yield(Snapshot[T]{}, err)
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// whole returns the state, how often it has changed, what tells of the next change, and
// why there is none.
func (c *Cache[T]) whole() (s Snapshot[T], edits int64, changed <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshot(), c.edits, c.changed, c.err
}

// ended returns why ctx is done.
func ended(ctx context.Context) error { return attempt.Ended(ctx, nil) }
