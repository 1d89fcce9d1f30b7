package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrClosed is what a cache that was closed ends with: the error of [Cache.Err], and
// of what waits for it.
var ErrClosed = errors.New("watch: closed")

var errClientClosed = errors.New("watch: the etcd client was closed")

// Cache is a copy in memory of all keys under a prefix, decoded and kept up to date.
// [NewCache] makes one. Its methods may be called by any number of goroutines.
type Cache[T any] struct {
	decoder func(key string, value []byte) (T, error)
	log     *slog.Logger
	cancel  context.CancelFunc
	loaded  chan struct{} // closed once the state at one revision is complete
	done    chan struct{} // closed when the goroutine that follows has ended
	poke    chan struct{} // holds a token when somebody waits for a revision

	// The goroutine that follows is the only one to change the table and revision,
	// and reads them without mu.
	mu       sync.RWMutex
	table    table[T]
	revision int64         // the table is the state at this revision
	contact  time.Time     // when it got there
	err      error         // why it no longer follows
	changed  chan struct{} // closed by the next change of the above
	history  history[T]
}

// NewCache loads all keys that begin with prefix, as they are at one revision, and
// keeps them up to date until the cache is closed. ctx bounds the load only; its
// values stay in use, its end means nothing once NewCache has returned.
//
// decode turns a value into a T; it must not keep the slice it is given, it is not
// called by two goroutines at a time, and the cache waits for it. If it returns an
// error, or panics, the key stays with an error, see [Item]; the error is logged at
// Warn. The empty prefix stands for all keys of the store and needs [WithKeyspace].
//
// A failed call leaves nothing behind.
func NewCache[T any](
	ctx context.Context, client *clientv3.Client, prefix string, decode func(key string, value []byte) (T, error), opts ...CacheOption,
) (*Cache[T], error) {
	cfg, err := newCacheConfig(client, prefix, opts)
	if decode == nil {
		err = errors.Join(err, errors.New("watch: decode function is nil: must be a function"))
	}
	if err != nil {
		return nil, err
	}
	c := newCache(decode, cfg.log)
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	//nolint:forbidigo // not a deadline: the client's end is the cache's, and a stream takes seconds to notice it
	ignore := context.AfterFunc(client.Ctx(), func() {
		c.stop(errClientClosed)
		cancel()
	})
	go func() {
		defer ignore()
		c.follow(c.batches(life, client, prefix, cfg))
	}()
	select {
	case <-c.loaded:
		return c, nil
	case <-c.done:
		cancel()
		return nil, fmt.Errorf("watch: loading the cache of %q: %w", prefix, c.err)
	case <-ctx.Done():
		cancel()
		<-c.done
		return nil, fmt.Errorf("watch: loading the cache of %q: %w", prefix, ended(ctx))
	}
}

// newCache returns an empty cache that does not follow anything yet.
func newCache[T any](decode func(key string, value []byte) (T, error), log *slog.Logger) *Cache[T] {
	return &Cache[T]{
		decoder: decode, log: log, table: newTable[T](), history: newHistory[T](),
		loaded: make(chan struct{}), done: make(chan struct{}),
		poke: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

// follow applies the batches until they end, which they do when the cache is closed.
func (c *Cache[T]) follow(batches iter.Seq2[Batch, error]) {
	defer close(c.done)
	for b, err := range batches {
		if err != nil {
			c.stop(err)
			return
		}
		c.apply(b)
	}
}

// stop notes why the cache no longer follows, unless that is known.
func (c *Cache[T]) stop(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		c.notify()
	}
}

// apply brings the table to the state after b.
func (c *Cache[T]) apply(b Batch) {
	entries := make([]*entry[T], 0, len(b.Events))
	for _, ev := range b.Events {
		if ev.Kv.ModRevision > c.revision { // else it is in the table already
			entries = append(entries, c.digest(ev))
		}
	}
	if b.Resync { // the state was read in the order of keys
		slices.SortStableFunc(entries, func(x, y *entry[T]) int { return cmp.Compare(x.ModRevision, y.ModRevision) })
	}
	first := c.revision == 0
	c.install(entries, b.Revision)
	if first {
		close(c.loaded)
	}
}

// digest makes an entry of an event.
func (c *Cache[T]) digest(ev *clientv3.Event) *entry[T] {
	if ev.Type == clientv3.EventTypeDelete {
		return &entry[T]{key: string(ev.Kv.Key), Item: Item[T]{ModRevision: ev.Kv.ModRevision}}
	}
	return c.entryOf(ev.Kv)
}

// install puts entries into the table and wakes who waits. All become visible at
// once.
func (c *Cache[T]) install(entries []*entry[T], revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.table.byKey) == 0 {
		c.table.grow(len(entries))
	}
	for _, e := range entries {
		c.set(e)
	}
	c.revision = max(c.revision, revision)
	c.contact = time.Now()
	c.history.trim(&c.table)
	c.notify()
}

// set puts one entry into the table unless it has a newer one. mu must be held.
func (c *Cache[T]) set(e *entry[T]) {
	old := c.table.byKey[e.key]
	switch {
	case old == nil && e.deleted(), old != nil && old.ModRevision >= e.ModRevision:
		return
	case e.deleted():
		c.table.remove(e.key)
		c.history.add(old.buried(e.ModRevision))
		return
	case old != nil && old.CreateRevision != e.CreateRevision:
		// Deleted and created again, both unseen.
		c.history.add(old.buried(e.ModRevision))
	}
	e.keep(old)
	c.table.put(e)
	c.history.add(e)
}

// Get returns what the cache has of key; false if there is no such key. It takes the
// same time however many keys there are, allocates nothing, and waits for nothing but
// a batch of changes that is just being put in place. Two calls may see different
// revisions; a [Snapshot] is of one.
func (c *Cache[T]) Get(key string) (item Item[T], ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if e := c.table.byKey[key]; e != nil {
		return e.Item, true
	}
	return item, false
}

// Snapshot returns the present state, all keys at one revision. It takes the same
// short time however many keys there are.
func (c *Cache[T]) Snapshot() Snapshot[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshot()
}

// snapshot is Snapshot. mu must be held.
func (c *Cache[T]) snapshot() Snapshot[T] {
	return Snapshot[T]{sorted: c.table.sorted.Copy(), revision: c.revision}
}

// revisions returns each key and its ModRevision, in key order: what the stream
// compares with the store after a compaction.
func (c *Cache[T]) revisions() iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		for key, item := range c.Snapshot().All() {
			if !yield(key, item.ModRevision) {
				return
			}
		}
	}
}

// keys returns all keys in order.
func (c *Cache[T]) keys() []string {
	s := c.Snapshot()
	keys := make([]string, 0, s.Len())
	for key := range s.All() {
		keys = append(keys, key)
	}
	return keys
}

// Err returns nil while the cache follows the store, interruptions included that it
// is about to overcome, and else why it no longer does: [ErrClosed] after Close, or
// what the stream ended with, such as a lack of permission. What the cache had then
// stays readable.
func (c *Cache[T]) Err() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.err
}

// Freshness says which state the cache has, that of revision, and when it got there, by
// this machine's clock. A store that nobody writes to stays at its revision; to know
// whether that is so, or the connection is away, read any key and pass the revision of
// the reply to [Cache.WaitRevision].
func (c *Cache[T]) Freshness() (revision int64, at time.Time) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revision, c.contact
}

// notify wakes all who wait for a change. mu must be held.
func (c *Cache[T]) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Close stops following the store, ends what waits for the cache with [ErrClosed] and
// waits for the cache's goroutine, for as long as ctx allows. It may be called again.
// Get and Snapshot go on to return the last state.
func (c *Cache[T]) Close(ctx context.Context) error {
	c.stop(ErrClosed)
	c.cancel()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("watch: closing the cache: %w", ended(ctx))
	}
}
