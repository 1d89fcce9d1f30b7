package watch

import (
	"context"
	"fmt"
	"time"
)

const (
	// firstAsk is how long a waiter gives the events themselves before it asks how
	// far the server is; they usually come within a millisecond.
	firstAsk = 2 * time.Millisecond
	// maxAsk is the longest pause between two questions. A server does not answer
	// while a watch on the same gRPC stream catches up, which it does ten times a
	// second.
	maxAsk = 100 * time.Millisecond
)

// WaitRevision waits until the cache has everything up to revision rev: after a write that
// was answered with this revision, the cache shows the write, or what has replaced it. The
// write may be anywhere in the store; the keys of the cache need not have changed, since
// the server is asked for its revision.
//
// The error is ctx's if that ends, otherwise that of the cache if it has stopped, even if
// it had reached rev before: a cache that has ended is behind, or what it has is void. If
// the store has yet to reach the revision, it waits for that.
func (c *Cache[T]) WaitRevision(ctx context.Context, rev int64) error {
	reached, changed, err := c.at(rev)
	if reached || err != nil {
		return err
	}
	pause := firstAsk
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for !reached && err == nil {
		select {
		case <-changed:
		case <-timer.C:
			c.ask(rev)
			pause = min(2*pause, maxAsk)
			timer.Reset(pause)
		case <-ctx.Done():
			return fmt.Errorf("watch: waiting for revision %d: %w", rev, ended(ctx))
		}
		reached, changed, err = c.at(rev)
	}
	return err
}

// at reports whether the cache has reached rev, and if not, what to wait for, or that
// there is nothing to wait for.
func (c *Cache[T]) at(rev int64) (reached bool, changed <-chan struct{}, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.err == nil && c.revision >= rev, c.changed, c.err
}

// ask has the stream ask the server how far it is, for somebody who waits for a revision.
func (c *Cache[T]) ask(revision int64) {
	select {
	case c.poke <- revision:
	default:
	}
}
