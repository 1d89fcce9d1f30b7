package watch

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Difference is the diff of a Resync.
var Difference = difference

// MaxReads is how many reads of a client are out at once.
const MaxReads = maxReads

// AwaitTurn waits until it is the turn of a question of a client.
func AwaitTurn(ctx context.Context, client *clientv3.Client) (done func(), ok bool) {
	return awaitFor(ctx, client, (*streams).awaitTurn)
}

// AwaitRoutine is AwaitTurn for a question that nobody waits for.
func AwaitRoutine(ctx context.Context, client *clientv3.Client) (done func(), ok bool) {
	return awaitFor(ctx, client, (*streams).awaitRoutine)
}

func awaitFor(ctx context.Context, client *clientv3.Client, await func(*streams, context.Context) (func(), bool)) (done func(), ok bool) {
	s := streamsOf(client)
	over, ok := await(s, ctx)
	if !ok {
		s.release()
		return nil, false
	}
	return func() {
		over()
		s.release()
	}, true
}

// MaxRefused is how many shared gRPC streams go on beside the last.
const MaxRefused = maxRefused

// Lines are the shared gRPC streams of a client.
type Lines struct {
	s   *streams
	all []*line
}

// NewLines returns the shared gRPC streams of a client that has none.
func NewLines(client *clientv3.Client) *Lines { return &Lines{s: streamsOf(client)} }

// Share has one watch more share a gRPC stream.
func (l *Lines) Share() { l.all = append(l.all, l.s.take(context.Background(), 0)) }

// Replace has the next one share another.
func (l *Lines) Replace() { l.s.replace(l.all[len(l.all)-1]) }

// Aside returns how many watches have to leave theirs.
func (l *Lines) Aside() (n int) {
	for _, one := range l.all {
		if l.s.aside(one) {
			n++
		}
	}
	return n
}

// Close gives all back.
func (l *Lines) Close() {
	for _, one := range l.all {
		one.leave()
	}
	l.s.release()
}

// StreamKey is the metadata that tells gRPC streams apart.
const StreamKey = streamKey

// AfterGaps returns what a stream with snapshots delivers whose watches all tell of a gap, until
// there are no more of them.
func AfterGaps(ctx context.Context, client *clientv3.Client, key string, gaps int) (all []Batch, err error) {
	cfg, err := newConfig(client, key, []Option{WithSnapshot()})
	if err != nil {
		return nil, err
	}
	d := newDelivery(client, keyRange(key, cfg), cfg, nil)
	d.streams = streamsOf(client)
	defer d.streams.release()
	for range gaps {
		b, ok, err := d.load(ctx, item{gap: true})
		if err != nil {
			return all, err
		}
		if ok {
			d.last = b.Revision
			all = append(all, b)
		}
	}
	return all, nil
}

// AfterGap returns why a stream with snapshots that had come to a revision does not go on with
// the store there is, when its watch has ended with err and it has to read the state.
func AfterGap(ctx context.Context, client *clientv3.Client, key string, revision int64, err error) error {
	cfg, wrong := newConfig(client, key, []Option{WithSnapshot()})
	if wrong != nil {
		return wrong
	}
	d := newDelivery(client, keyRange(key, cfg), cfg, nil)
	d.streams = streamsOf(client)
	defer d.streams.release()
	f := newFollower(d, nil)
	for f.position = revision; f.position != unknown; {
		if err := f.recover(ctx, err); err != nil {
			return err
		}
	}
	w, err := f.open(ctx, f.start())
	if err != nil {
		return err
	}
	defer w.close()
	return f.begin(ctx, w)
}

// Buffer is what a stream reads ahead into.
type Buffer struct{ *buffer }

// NewBuffer returns a buffer of a size in bytes.
func NewBuffer(limit int, conflate bool) Buffer { return Buffer{newBuffer(limit, conflate)} }

// Put adds a batch and reports whether there is room for more.
func (b Buffer) Put(batch Batch) (room bool) { return b.put(item{Batch: batch}) }

// PutGap adds a gap that ends at a revision.
func (b Buffer) PutGap(revision int64) { b.put(item{Batch: Batch{Revision: revision}, gap: true}) }

// PutAnew adds a gap with which another history begins.
func (b Buffer) PutAnew(revision int64) {
	b.put(item{Batch: Batch{Revision: revision}, gap: true, anew: true})
}

// TakeAnew removes a batch, and says whether it is a gap with which another history begins.
func (b Buffer) TakeAnew() (anew bool) {
	it, _, _ := b.pop()
	return it.gap && it.anew
}

// Take removes a batch, if there is one, and says whether it is a gap.
func (b Buffer) Take() (batch Batch, gap, ok bool) {
	it, ok, _ := b.pop()
	return it.Batch, it.gap, ok
}

// Skip removes what is not above a revision.
func (b Buffer) Skip(revision int64) { b.skip(revision, b.epoch) }

// Size returns the bytes in the buffer, and the places for events it has in use.
func (b Buffer) Size() (bytes, places int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, it := range append(b.out[b.next:len(b.out):len(b.out)], b.in...) {
		places += 1 + len(it.Events)
	}
	return b.size, places
}

// Latest is the highest revision that members have told.
type Latest struct{ latest }

// Note takes note of an answer.
func (l *Latest) Note(header *pb.ResponseHeader) { l.note(header) }

// Of returns the revision of a cluster.
func (l *Latest) Of(cluster uint64) int64 { return l.of(cluster).revision }

// Begin begins a read unless there was one within a time.
func (l *Latest) Begin(within time.Duration) (known int64, ok bool) { return l.begin(within) }

// End ends a read.
func (l *Latest) End(known int64, header *pb.ResponseHeader) {
	if header != nil {
		l.learn(known, header)
	}
	l.end()
}
