package watch

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// known is what a stream has delivered: each key that exists after the last batch,
// with its ModRevision. A stream asks only for it when history was compacted away, and
// from the goroutine that consumes it, between two batches: whoever keeps that state
// anyway, as a cache does, lends it to the stream without a lock.
type known interface {
	revisions() iter.Seq2[string, int64]
}

// Stream yields the changes of key, or of all keys that begin with it, see
// [WithPrefix]: in the order of their revisions, each once, without a gap, those of
// one revision in one batch. It overcomes lost connections, restarts of members and
// elections; what it does not overcome ends it with an error, the last item:
//
//   - wrong arguments: then the error is the only item;
//   - a [*CompactedError], if history it needs was compacted away, and it was not
//     opened [WithSnapshot];
//   - a [*FutureRevisionError], if the store's revision has gone back, or never
//     reached the start revision;
//   - lack of permission, or a client that was closed;
//   - ctx's error once ctx is done. Batches not yet taken are then left out.
//
// The first batch of a stream from now is empty and says from which revision on; later
// ones come without events from time to time, see [Batch].
//
// Nothing happens before the iteration begins, and each iteration is a stream of its
// own, from the same start. Between batches the stream reads ahead as far
// as [WithBuffer] allows. When the loop is left, everything is released.
func Stream(ctx context.Context, client *clientv3.Client, key string, opts ...Option) iter.Seq2[Batch, error] {
	cfg, err := newConfig(client, key, opts)
	if err != nil {
		return func(yield func(Batch, error) bool) { yield(Batch{}, err) }
	}
	return stream(ctx, client, key, cfg, nil, nil)
}

// stream is Stream for what has been checked. If k is not nil it is in snapshot mode,
// of a prefix, and k stands in for its memory of keys. Each token in poke makes it ask the
// server for its revision, which a batch tells soon after.
func stream(ctx context.Context, client *clientv3.Client, key string, cfg config, k known, poke <-chan struct{}) iter.Seq2[Batch, error] {
	if k != nil {
		cfg.prefix, cfg.snapshot = true, true
	}
	return func(yield func(Batch, error) bool) {
		d := newDelivery(client, keyRange(key, cfg), cfg, k)
		d.progress = cfg.open(key, k != nil)
		var ended error
		defer func() { d.progress.close(ended) }()
		stop := d.follow(ctx, poke)
		defer stop()
		for {
			b, err := d.next(ctx)
			if err != nil {
				ended = fmt.Errorf("watch: stream of %q: %w", key, err)
				yield(Batch{}, ended)
				return
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

// delivery is the consumer's side of a stream.
type delivery struct {
	config
	client *clientv3.Client
	keys   span
	buffer *buffer
	known  known
	memory memory // of this stream's own, nil if known is somebody else's or not needed
	begun  bool   // the snapshot has been delivered

	progress *Progress // nil if nobody listens
	last     int64     // the revision of the last batch
}

func newDelivery(client *clientv3.Client, keys span, cfg config, k known) *delivery {
	d := &delivery{config: cfg, client: client, keys: keys, known: k, buffer: newBuffer(cfg.buffer, cfg.conflate)}
	if cfg.snapshot && k == nil {
		d.memory = make(memory)
		d.known = d.memory
	}
	return d
}

// follow starts the goroutine that fills the buffer. It ends when ctx does, when it
// fails, or when stop is called, which waits for it.
func (d *delivery) follow(ctx context.Context, poke <-chan struct{}) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	f := newFollower(d, poke)
	var running sync.WaitGroup
	running.Go(func() { f.run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// next returns the next batch.
func (d *delivery) next(ctx context.Context) (b Batch, err error) {
	d.progress.handle(d.last)
	it, err := d.buffer.take(ctx)
	if err != nil {
		return Batch{}, err
	}
	b = it.Batch
	if it.gap {
		if b, err = d.load(ctx); err != nil {
			return Batch{}, err
		}
	}
	d.memory.apply(b.Events)
	d.last = b.Revision
	return b, nil
}

// load reads the state after a gap in the history, the beginning being one. The watch
// that the buffer is filled from is older than the read, so nothing is
// missed in between, and what both show is left out of the buffer.
func (d *delivery) load(ctx context.Context) (Batch, error) {
	kvs, revision, err := d.keys.read(ctx, d.client, d.stall)
	for errors.Is(err, errOvertaken) {
		d.log.Warn("watch: compaction has overtaken a read; reading again", "key", d.keys.key)
		kvs, revision, err = d.keys.read(ctx, d.client, d.stall)
	}
	if err != nil {
		return Batch{}, err
	}
	d.buffer.skip(revision)
	if d.begun {
		d.progress.resynced()
	}
	b := Batch{Revision: revision, Snapshot: !d.begun, Resync: d.begun}
	b.Events = difference(d.known.revisions(), kvs, revision)
	d.begun = true
	return b, nil
}

// memory is a stream's own record of what it has delivered.
type memory map[string]int64

func (m memory) revisions() iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		for key, revision := range m {
			if !yield(key, revision) {
				return
			}
		}
	}
}

// apply notes what is being delivered, unless m is nil.
func (m memory) apply(events []*clientv3.Event) {
	if m == nil {
		return
	}
	for _, ev := range events {
		if ev.Type == clientv3.EventTypeDelete {
			delete(m, string(ev.Kv.Key))
		} else {
			m[string(ev.Kv.Key)] = ev.Kv.ModRevision
		}
	}
}
