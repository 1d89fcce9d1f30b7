package watch

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

// known is what a stream has delivered: each key that exists after the last batch,
// with its ModRevision. A stream asks only for it when history was compacted away, and
// from the goroutine that consumes it, between two batches: whoever keeps that state
// anyway, as a cache does, lends it to the stream without a lock.
type known interface {
	revisions() iter.Seq2[string, int64]
}

// Stream yields the changes of key, or of all keys that begin with it, see [WithPrefix]: in
// the order of their revisions, each once, without a gap, with those of one revision in one
// batch. It survives lost connections, restarts of members and elections; anything else
// ends it with an error, the last item:
//
//   - wrong arguments: then the error is the only item;
//   - a [*CompactedError], if history it needs was compacted away, and it was not
//     opened [WithSnapshot];
//   - a [*FutureRevisionError], if the store's revision has gone back, or never
//     reached the start revision;
//   - a [*ClusterError], if another cluster answers;
//   - a [*TooLargeError], if a change is larger than the client accepts;
//   - a refusal, such as lack of permission, before anything was delivered;
//   - a client that was closed;
//   - ctx's error once ctx is done. Batches not yet taken are then left out.
//
// The first batch of a stream from now is empty and says from which revision on; later
// ones come without events from time to time, see [Batch].
//
// Nothing happens before the iteration begins, and each iteration is a separate stream,
// from the same start. Between batches the stream reads ahead as far as [WithBuffer]
// allows. When the loop ends, everything is released.
func Stream(ctx context.Context, client *clientv3.Client, key string, opts ...Option) iter.Seq2[Batch, error] {
	cfg, err := newConfig(client, key, opts)
	if err != nil {
		return func(yield func(Batch, error) bool) { yield(Batch{}, err) }
	}
	return stream(ctx, client, key, cfg, nil, nil)
}

// stream is Stream for what has been checked. If k is not nil it is in snapshot mode,
// of a prefix, and k stands in for its memory of keys. Each revision in poke makes it ask the
// server for its own if it has not come to that; a batch tells it soon after.
func stream(ctx context.Context, client *clientv3.Client, key string, cfg config, k known, poke <-chan int64) iter.Seq2[Batch, error] {
	if k != nil {
		cfg.prefix, cfg.snapshot = true, true
	}
	return func(yield func(Batch, error) bool) {
		ctx, release := whileClientIsOpen(ctx, client)
		defer release()
		d := newDelivery(client, keyRange(key, cfg), cfg, k)
		d.streams = streamsOf(client)
		defer d.streams.release()
		d.progress = cfg.open(key, k != nil, d.streams)
		var ended error
		defer func() { d.progress.close(ended) }()
		stop := d.follow(ctx, poke)
		defer stop()
		for {
			b, err := d.next(ctx)
			if errors.Is(context.Cause(ctx), errClientClosed) {
				err = errClientClosed
			}
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
	streams  *streams
	last     int64 // the revision of the last batch
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
func (d *delivery) follow(ctx context.Context, poke <-chan int64) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	f := newFollower(d, poke)
	var running sync.WaitGroup
	running.Go(func() { f.run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// whileClientIsOpen returns a context that also ends when the client is closed. Calls on
// a closed client fail only after many attempts.
func whileClientIsOpen(ctx context.Context, client *clientv3.Client) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	//nolint:forbidigo // not a deadline: the client's end is the stream's
	stop := context.AfterFunc(client.Ctx(), func() { cancel(errClientClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// next returns the next batch.
func (d *delivery) next(ctx context.Context) (b Batch, err error) {
	d.progress.handle(d.last)
	for ok := false; !ok; {
		it, err := d.buffer.take(ctx)
		if err != nil {
			return Batch{}, err
		}
		b, ok = it.Batch, true
		if it.gap {
			if b, ok, err = d.load(ctx, it); err != nil {
				return Batch{}, err
			}
		}
	}
	d.memory.apply(b.Events)
	d.last = b.Revision
	return b, nil
}

// load reads the state after a gap in the history, the beginning being one. The watch
// that the buffer is filled from is older than the read, so nothing is
// missed in between, and what both show is left out of the buffer. It is not ok if another
// history has begun meanwhile, with a gap of its own.
func (d *delivery) load(ctx context.Context, gap item) (b Batch, ok bool, err error) {
	kvs, header, err := d.readAfter(ctx, gap)
	if err != nil || header == nil {
		return Batch{}, false, err
	}
	revision := header.GetRevision()
	d.buffer.skip(revision, gap.epoch)
	b = Batch{Revision: revision}
	switch {
	case !d.begun:
		b.Snapshot = true
	case gap.anew:
		b.Snapshot, b.Rebuilt = true, true
		d.progress.rebuilt(revision)
		clear(d.memory)
	case revision == d.last: // the state was read since the history was missing
		return Batch{}, false, nil
	default:
		b.Resync = true
		d.progress.resynced()
	}
	if b.Resync {
		b.Events = difference(d.known.revisions(), kvs, revision)
	} else {
		b.Events = whole(kvs)
	}
	d.begun = true
	return b, true, nil
}

// readAfter reads the state after a gap. One of another store, or of one that was set back, is
// an error; with WithRebuild it is read again until the follower has noticed, too, and the
// header is nil then: what is behind the gap must not be delivered without the state.
func (d *delivery) readAfter(ctx context.Context, gap item) ([]*mvccpb.KeyValue, *pb.ResponseHeader, error) {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		kvs, header, err := d.readState(ctx)
		if err != nil {
			return nil, nil, err
		}
		foreign := gap.foreign(header)
		if foreign == nil {
			return kvs, header, nil
		}
		if !d.rebuild {
			return nil, nil, foreign
		}
		d.log.Warn("watch: the state is that of another store; reading again", "key", d.keys.key, "error", foreign)
		if over, err := d.buffer.left(gap.epoch); over || err != nil {
			return nil, nil, err
		}
		attempt.Pause(ctx, pause)
	}
}

// readState reads the state. A stream that has begun goes on trying, whatever the reason
// is for which it cannot.
func (d *delivery) readState(ctx context.Context) ([]*mvccpb.KeyValue, *pb.ResponseHeader, error) {
	warned := warner{log: d.log, key: d.keys.key}
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		kvs, header, err := d.keys.read(ctx, d.streams, d.stall/2)
		switch {
		case err == nil:
			return kvs, header, nil
		case errors.Is(err, errOvertaken):
			d.log.Warn("watch: compaction has overtaken a read; reading again", "key", d.keys.key)
			continue
		case !d.begun, ctx.Err() != nil:
			return nil, nil, err
		}
		warned.Warn("watch: the state cannot be read; trying on", "error", err)
		d.buffer.hold(err)
		attempt.Pause(ctx, pause)
	}
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
