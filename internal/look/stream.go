package look

import (
	"context"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// streamKey is the metadata that tells clientv3 to use another gRPC stream: it
// shares one among all watches whose metadata is the same.
const streamKey = "conclave-watch-stream"

// stream is the gRPC stream that carries the watches of a lease's waiters. All
// clients' first stream is the same, without metadata of its own.
type stream struct {
	mu         sync.Mutex
	generation int
	idle       clientv3.WatchChan // keeps the stream open, nil if there is none
	closeIdle  context.CancelFunc
}

// WatchContext returns the context for a watch that ends with the lease, and the
// generation of the stream it will use.
func (l *List) WatchContext() (ctx context.Context, generation int) {
	l.stream.mu.Lock()
	defer l.stream.mu.Unlock()
	return l.watchContext(), l.stream.generation
}

// watchContext returns the context of the present stream. stream.mu must be held.
func (l *List) watchContext() context.Context {
	ctx := clientv3.WithRequireLeader(l.ctx)
	if n := l.stream.generation; n > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, streamKey, fmt.Sprintf("%p-%d", l, n))
	}
	return ctx
}

// Abandon makes later watches use a new stream if the present one is still of the
// given generation. It is for a stream that has kept an event from us: its member
// may have vanished without closing the connection, and clientv3 would use it again.
func (l *List) Abandon(generation int) {
	l.stream.mu.Lock()
	defer l.stream.mu.Unlock()
	if l.stream.generation == generation {
		l.stream.generation++
		if l.stream.idle != nil {
			l.stream.closeIdle()
			l.stream.idle = nil
		}
	}
}

// KeepOpen keeps the present stream open with a watch on a key that nobody writes.
// Without it clientv3 would close the stream with the last waiter's watch, and each
// new stream costs a password check where authentication is on.
func (l *List) KeepOpen(client *clientv3.Client, key string) {
	l.stream.mu.Lock()
	defer l.stream.mu.Unlock()
	if l.stream.idle != nil && !ended(l.stream.idle) {
		return
	}
	if l.stream.idle != nil {
		l.stream.closeIdle()
	}
	ctx, cancel := context.WithCancel(l.watchContext())
	l.stream.idle, l.stream.closeIdle = make(chan clientv3.WatchResponse), cancel
	generation := l.stream.generation
	l.Go(func(context.Context) {
		opened := client.Watch(ctx, key, clientv3.WithFilterPut(), clientv3.WithFilterDelete())
		l.stream.mu.Lock()
		defer l.stream.mu.Unlock()
		if l.stream.generation == generation {
			l.stream.idle = opened
		}
	})
}

// ended reports whether the watch is over. Nothing else is ever delivered on it
// but its end, and the error before.
func ended(idle clientv3.WatchChan) bool {
	select {
	case <-idle:
		return true
	default:
		return false
	}
}
