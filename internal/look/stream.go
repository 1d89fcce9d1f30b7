package look

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// streamKey is the metadata that tells clientv3 to use another gRPC stream: it
// shares one among all watches whose metadata is the same.
const streamKey = "conclave-watch-stream"

// streams are the gRPC streams that carry the watches of a lease's waiters: the present
// one, and those that were abandoned and have users left.
type streams struct {
	mu      sync.Mutex
	current *Stream
	ended   bool // with the lease
}

// Stream is a gRPC stream that watches share. All clients' first is the same, without
// metadata of its own.
//
// clientv3 closes a stream when a watch on it ends, is the last, and none was given up
// that the server has yet to create: else the stream stays, on both sides, with nothing on
// it. So a stream has a watch of ours, the idle one. It ends after all others, and is
// made anew when a watch was given up before it was created: the server creates them in
// order.
type Stream struct {
	list       *List
	generation int
	ctx        context.Context //nolint:containedctx // of its watches
	end        context.CancelFunc
	heard      atomic.Int64 // what its watches were sent

	// The fields below are protected by the list's streams.mu.

	// users counts those who watch, or are about to.
	users int
	// retired is set once nobody is to begin another watch on it.
	retired bool
	idle    *idleWatch // the last that was created, nil if none was
	// opening is set while an idle watch is being created, and again if another has to
	// follow.
	opening, again bool
}

// idleWatch is a watch on a key that nobody writes.
type idleWatch struct {
	responses clientv3.WatchChan
	cancel    context.CancelFunc
}

// over reports whether the watch has ended, of which nothing else is ever delivered but
// the end, and the error before.
func (w *idleWatch) over() bool {
	select {
	case <-w.responses:
		return true
	default:
		return false
	}
}

// Stream returns the present stream for a watch, until Leave is called.
func (l *List) Stream() *Stream {
	l.streams.mu.Lock()
	defer l.streams.mu.Unlock()
	if l.streams.current == nil {
		l.streams.begin(l, 0)
	}
	l.streams.current.users++
	return l.streams.current
}

// begin makes another stream the present one. mu must be held.
func (s *streams) begin(l *List, generation int) {
	s.current = &Stream{list: l, generation: generation, retired: s.ended}
	s.current.ctx, s.current.end = context.WithCancel(l.ctx)
}

// Context returns the context for watches on the stream. It ends with the lease, or when the stream is
// given up, see Doubt.
func (s *Stream) Context() context.Context {
	ctx := clientv3.WithRequireLeader(s.ctx)
	if s.generation > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, streamKey, fmt.Sprintf("%p-%d", s.list, s.generation))
	}
	return ctx
}

// Abandon makes later watches use a new stream. It is for a stream that has kept an
// event from us: its member may have vanished without closing the connection, and
// clientv3 would use it again.
func (s *Stream) Abandon() {
	all := &s.list.streams
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.current == s {
		all.begin(s.list, s.generation+1)
	}
	s.retired = true
	s.closeIfUnused()
}

// Retired reports whether nobody is to begin another watch on the stream.
func (s *Stream) Retired() bool {
	s.list.streams.mu.Lock()
	defer s.list.streams.mu.Unlock()
	return s.retired
}

// Heard notes that a watch on the stream was sent something.
func (s *Stream) Heard() { s.heard.Add(1) }

// Doubt ends all watches on an abandoned stream if none of them is sent anything within the time. What it has
// kept from us may only be on its way; but if its member has vanished, each who waits there would hear of
// nothing before the next look.
func (s *Stream) Doubt(within time.Duration) {
	before := s.heard.Load()
	time.AfterFunc(within, func() {
		if s.heard.Load() == before {
			s.end()
		}
	})
}

// Created notes that a watch on the stream has been created, and keeps the stream open
// with the idle watch, on key. Without it clientv3 would close the stream with the last
// waiter's watch, and each new stream costs a password check where authentication is on.
func (s *Stream) Created(client *clientv3.Client, key string) {
	s.list.streams.mu.Lock()
	defer s.list.streams.mu.Unlock()
	if !s.opening && (s.idle == nil || s.idle.over()) {
		s.open(client, key)
	}
}

// Leave ends the use of the stream. It must be called once clientv3 has returned from
// Watch; pending says whether the server has yet to create a watch that was asked for.
func (s *Stream) Leave(client *clientv3.Client, key string, pending bool) {
	s.list.streams.mu.Lock()
	defer s.list.streams.mu.Unlock()
	s.users--
	switch {
	case !pending:
	case s.opening:
		s.again = true
	default:
		s.open(client, key)
	}
	s.closeIfUnused()
}

// open creates an idle watch, which takes the place of the one there is. streams.mu must
// be held.
func (s *Stream) open(client *clientv3.Client, key string) {
	s.opening = true
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.Context()))
	go func() { // until the watch is created, or the client closed
		responses := client.Watch(ctx, key, clientv3.WithFilterPut(), clientv3.WithFilterDelete())
		s.list.streams.mu.Lock()
		defer s.list.streams.mu.Unlock()
		if s.idle != nil {
			s.idle.cancel()
		}
		s.idle, s.opening = &idleWatch{responses, cancel}, false
		if s.again {
			s.again = false
			s.open(client, key)
		}
		s.closeIfUnused()
	}()
}

// closeIfUnused ends a retired stream that nobody uses, and its idle watch. streams.mu
// must be held.
func (s *Stream) closeIfUnused() {
	if !s.retired || s.users > 0 {
		return
	}
	s.end()
	if !s.opening && s.idle != nil {
		s.idle.cancel()
	}
}

// end retires the streams with the lease.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.current != nil {
		s.current.retired = true
		s.current.closeIfUnused()
	}
}
