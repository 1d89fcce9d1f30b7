package watch

import (
	"context"
	"log/slog"
	"time"
)

// Offline returns a cache without a server: what Apply is given is what it has.
func Offline[T any](decode func(key string, value []byte) (T, error)) *Cache[T] {
	c := newCache(decode, slog.New(slog.DiscardHandler))
	_, c.cancel = context.WithCancel(context.Background())
	close(c.done)
	return c
}

// Apply hands c a batch.
func (c *Cache[T]) Apply(b Batch) { c.apply(b) }

// Fail stops c as an error of its stream would.
func (c *Cache[T]) Fail(err error) { c.stop(err) }

// CutHistoryAt lets the history be cut back at n entries.
func (c *Cache[T]) CutHistoryAt(n int) { c.history.limit, c.history.least = n, n }

// HistoryLen is the number of entries of the history.
func (c *Cache[T]) HistoryLen() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.history.entries)
}

// Reader reads changes without waiting.
type Reader[T any] struct {
	c *Cache[T]
	r *reader
}

// Join returns a reader and the state it begins with.
func (c *Cache[T]) Join() (Snapshot[T], *Reader[T]) {
	s, r := c.join()
	return s, &Reader[T]{c, r}
}

// Next returns what is to be read next.
func (r *Reader[T]) Next() (changes []Change[T]) {
	for more := true; more && len(changes) == 0; {
		changes, more = r.Step()
	}
	return changes
}

// Leave ends the reader.
func (r *Reader[T]) Leave() { r.c.leave(r.r) }

// Queue is the work queue of Reconcile.
type Queue struct{ *workQueue }

// NewQueue returns an empty queue.
func NewQueue(shortest, longest time.Duration) Queue { return Queue{newWorkQueue(shortest, longest)} }

// Add, Take, Finish and Stop are the queue's methods.
func (q Queue) Add(key string) { q.add(key) }

// Ready reports whether Take would not wait.
func (q Queue) Ready() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ready) > 0 || q.stopped
}

// Take hands out a key.
func (q Queue) Take() (string, bool) {
	key, _, ok := q.take()
	return key, ok
}

// Finish takes a key back.
func (q Queue) Finish(key string, err error) (int, time.Duration) { return q.finish(key, err, never) }

// Stop stops the queue.
func (q Queue) Stop() { q.stop() }

// Len is the number of keys the queue knows.
func (q Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.tasks)
}

// Step looks once for what is to be read next, and reports whether there may be more.
func (r *Reader[T]) Step() (changes []Change[T], more bool) {
	due, more := r.c.history.next(r.r, &r.c.table, r.c.now())
	for _, e := range due {
		changes = append(changes, Change[T]{Key: e.key, Item: e.Item, Deleted: e.deleted(), Rebuilt: r.c.rebuilt.includes(e.at)})
	}
	return changes, more
}

// LogTo has c log elsewhere.
func (c *Cache[T]) LogTo(log *slog.Logger) { c.log = log }
