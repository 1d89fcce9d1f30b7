package watch

import (
	"context"
	"fmt"
	"iter"

	"github.com/conclave-go/conclave/internal/attempt"
)

// Change is what became of one key of a [Cache].
type Change[T any] struct {
	// Key is the key.
	Key string
	// Item is what the cache has of it. If it was deleted: what it had before, with
	// Version 0 and as ModRevision the revision of the delete or, when that was lost
	// to a compaction, the one at which the delete was noticed.
	Item Item[T]
	// Deleted says that the key was deleted.
	Deleted bool
	// Initial says that this is the state the cache had when the iteration began.
	Initial bool
}

// Changes replays the present state in key order, then follows. The changes of one
// key come in order, and the last of them is the state the cache has; those of
// different keys come in the order of their last revisions. [Cache.Get] is never
// behind what was delivered.
//
// A consumer that does not keep up misses what a newer change has replaced, never
// the newest: what waits for all slow consumers together is bounded by twice the
// number of keys there are or the slowest has seen. A key that was created and
// deleted in between may be reported as deleted only, or not at all. Neither the
// cache nor another consumer waits for a slow one.
//
// The error is ctx's if that ends, otherwise that of the cache, when it stops and all
// changes were delivered. An iteration runs in the caller's goroutine and has none of
// its own. The sequence may be used again, and begins anew.
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
			due, err := c.await(ctx, r)
			if err != nil {
				yield(zero, err)
				return
			}
			for _, e := range due {
				if ctx.Err() != nil {
					break
				}
				if !yield(Change[T]{Key: e.key, Item: e.Item, Deleted: e.deleted()}, nil) {
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
	return c.snapshot(), c.history.join(c.revision)
}

func (c *Cache[T]) leave(r *reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history.leave(r)
}

// await waits until r has something to read, and returns it.
func (c *Cache[T]) await(ctx context.Context, r *reader) ([]*entry[T], error) {
	for {
		c.mu.RLock()
		due := c.history.next(r, &c.table, c.revision)
		changed, err := c.changed, c.err
		c.mu.RUnlock()
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("watch: following the changes: %w", ended(ctx))
		case len(due) > 0:
			return due, nil
		case err != nil:
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// ended returns why ctx is done.
func ended(ctx context.Context) error { return attempt.Ended(ctx, nil) }
