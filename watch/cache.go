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

	"github.com/conclave-go/conclave/internal/race"
)

// ErrClosed is what a closed cache ends with: the error of [Cache.Err], and of calls that
// wait for the cache.
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
	poke    chan int64    // holds a revision that somebody waits for

	// The goroutine that follows is the only one to change the table and revision,
	// and reads them without mu.
	mu       sync.RWMutex
	table    table[T]
	revision int64         // the table is the state at this revision
	base     int64         // what has been counted before revisions began anew, see entry.at
	rebuilt  period        // of what they began anew with
	edits    int64         // how often keys have changed
	contact  time.Time     // when it got there
	err      error         // why it no longer follows
	changed  chan struct{} // closed by the next change of the above
	history  history[T]
}

// NewCache loads all keys that begin with prefix, as they are at one revision, and keeps
// them up to date until the cache is closed. ctx bounds only the load; its values stay in
// use, but its end means nothing once NewCache has returned.
//
// decode turns a value into a T; it must not keep the slice it is given, is not called by
// two goroutines at a time, and the cache waits for it. If it returns an error, or panics,
// the key stays with an error, see [Item]; the error is logged at Warn. If it calls
// [runtime.Goexit], the cache ends with an error. The empty prefix
// stands for all keys of the store and needs [WithKeyspace].
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
	go c.follow(c.batches(life, client, prefix, cfg))
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
		poke: make(chan int64, 1), changed: make(chan struct{}),
	}
}

// follow applies the batches until they end, which they do when the cache is closed.
func (c *Cache[T]) follow(batches iter.Seq2[Batch, error]) {
	defer close(c.done)
	returned := false
	defer func() {
		if !returned { // decode called runtime.Goexit, which ends this goroutine
			c.stop(errGoexit)
		}
	}()
	for b, err := range batches {
		if err != nil {
			c.stop(err)
			break
		}
		c.apply(b)
	}
	returned = true
}

// errGoexit says that a decode function has called [runtime.Goexit].
var errGoexit = errors.New("watch: the decode function ended its goroutine")

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
	base, seen := c.base, c.revision
	if b.Rebuilt {
		base, seen = c.base+c.revision, 0
	}
	entries := make([]*entry[T], 0, len(b.Events))
	for _, ev := range b.Events {
		if ev.Kv.ModRevision > seen { // else it is in the table already
			entries = append(entries, c.digest(ev, base))
		}
	}
	if b.Rebuilt {
		entries = append(entries, c.vanished(entries, base, b.Revision)...)
		slices.SortStableFunc(entries, func(x, y *entry[T]) int { return cmp.Compare(x.at, y.at) })
	}
	first := c.revision == 0 && c.base == 0
	c.install(entries, base, b)
	if first {
		close(c.loaded)
	}
}

// digest makes an entry of an event.
func (c *Cache[T]) digest(ev *clientv3.Event, base int64) *entry[T] {
	var e *entry[T]
	if ev.Type == clientv3.EventTypeDelete {
		e = &entry[T]{key: string(ev.Kv.Key), Item: Item[T]{ModRevision: ev.Kv.ModRevision}}
	} else {
		e = c.entryOf(ev.Kv)
	}
	e.at, e.born = base+ev.Kv.ModRevision, base+ev.Kv.CreateRevision
	return e
}

// vanished returns the deletions of the keys that are not in another state, which is that
// at a revision.
func (c *Cache[T]) vanished(state []*entry[T], base, revision int64) (gone []*entry[T]) {
	there := make(map[string]struct{}, len(state))
	for _, e := range state {
		there[e.key] = struct{}{}
	}
	for key := range c.table.byKey {
		if _, ok := there[key]; !ok {
			gone = append(gone, &entry[T]{key: key, at: base + revision, Item: Item[T]{ModRevision: revision}})
		}
	}
	return gone
}

// install puts entries into the table and wakes who waits. All become visible at
// once.
func (c *Cache[T]) install(entries []*entry[T], base int64, b Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.table.byKey) == 0 {
		c.table.grow(len(entries))
	}
	for _, e := range entries {
		c.set(e)
	}
	c.revision = max(c.revision, b.Revision)
	if b.Rebuilt {
		c.base, c.revision = base, b.Revision
		c.rebuilt = period{after: base, to: c.now()}
	}
	if race.Enabled {
		c.check(entries)
	}
	if len(entries) > 0 || b.Snapshot {
		c.edits++
	}
	c.contact = time.Now()
	c.history.trim(&c.table)
	c.notify()
}

// check panics if an entry is newer than the state that it is part of. mu must be held.
func (c *Cache[T]) check(entries []*entry[T]) {
	for _, e := range entries {
		if e.at > c.now() {
			panic(fmt.Sprintf("watch: cache of revision %d has %q of revision %d", c.revision, e.key, e.ModRevision))
		}
	}
}

// period is a range of numbers, see entry.at.
type period struct{ after, to int64 }

func (p period) includes(at int64) bool { return p.after < at && at <= p.to }

// now returns the number, see entry.at, up to which the table is complete. mu must be
// held.
func (c *Cache[T]) now() int64 { return c.base + c.revision }

// set puts one entry into the table unless it has a newer one. mu must be held.
func (c *Cache[T]) set(e *entry[T]) {
	old := c.table.byKey[e.key]
	switch {
	case old == nil && e.deleted(), old != nil && old.at >= e.at:
		return
	case e.deleted():
		c.table.remove(e.key)
		c.history.add(old.buried(e))
		return
	case old != nil && old.born != e.born:
		// Deleted and created again, both unseen.
		c.history.add(old.buried(e))
	}
	e.keep(old)
	c.table.put(e)
	c.history.add(e)
}

// Get returns what the cache has for key; ok is false if there is no such key. It takes the
// same time however many keys there are, allocates nothing, and waits only if a batch of
// changes is being applied. Two calls may see different revisions; a [Snapshot] is of one.
func (c *Cache[T]) Get(key string) (item Item[T], ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if e := c.table.byKey[key]; e != nil {
		return e.Item, true
	}
	return item, false
}

// Snapshot returns the current state, all keys at one revision. It takes the same short
// time however many keys there are.
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

// Err returns nil while the cache follows the store, including interruptions from which it
// will recover, and otherwise why it no longer does: [ErrClosed] after Close, or what the
// stream ended with, such as a lack of permission. What the cache had then stays readable.
func (c *Cache[T]) Err() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.err
}

// Freshness returns the revision of the state the cache has, and when it got there, by this
// machine's clock. A store that nobody writes to stays at its revision; to find out whether
// that is so, or the connection is down, read any key and pass the revision of the reply to
// [Cache.WaitRevision].
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

// closeGrace is how long Close waits for the goroutine of a cache though its ctx is done.
// That takes no answer from a server, so it is only used up by a decode function.
const closeGrace = time.Second

// Close stops following the store, ends calls that wait for the cache with [ErrClosed], and
// waits for the cache's goroutine, for as long as ctx allows, or a second if that is
// already done. It may be called again. Get and Snapshot still return the last state.
func (c *Cache[T]) Close(ctx context.Context) error {
	c.stop(ErrClosed)
	c.cancel()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-c.done:
		return nil
	case <-grace.C:
		return fmt.Errorf("watch: closing the cache: %w", ended(ctx))
	}
}
