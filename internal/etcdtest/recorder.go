package etcdtest

import (
	"context"
	"maps"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Recorder counts and keeps the RPCs of the clients it is given to by
// [WithRecorder], and interferes with them where a hook says so. It sits below
// clientv3's own retries: every attempt is one call. The zero value is ready;
// all methods may be called concurrently.
//
// Methods go by their short names: "Txn", "Range", "LeaseGrant". A message sent
// on a stream is a call as well, see [Call].
type Recorder struct {
	// Forget makes it keep no calls, only counts. Set it before the first.
	Forget bool

	mu          sync.Mutex
	counts      map[string]int
	calls       []*Call
	hooks       []*unaryHook // the latest is the outermost
	streamHooks []*streamHook
	stalls      map[string]chan struct{} // by method; closed when released
	open        map[string]int           // streams, by method

	sent, received atomic.Int64
}

// UnaryHook stands in for a call: it runs invoke, or not, and returns what the
// client gets. It may wait, and must then mind ctx.
type UnaryHook func(ctx context.Context, req any, invoke func() error) error

type unaryHook struct {
	method string
	fn     UnaryHook
}

// DialOptions returns what makes a connection report to r.
func (r *Recorder) DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(r.unary),
		grpc.WithChainStreamInterceptor(r.stream),
		grpc.WithStatsHandler(byteCounter{r}),
	}
}

// Count returns how often a method was called since the start or [Recorder.Reset].
// On streams it counts what the client sent, by kind: "LeaseKeepAlive",
// "Watch" (to create a watch), "WatchCancel" and "WatchProgress"; and the
// streams opened: "LeaseKeepAliveStream", "WatchStream".
func (r *Recorder) Count(method string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[method]
}

// Open returns how many streams of a method, "Watch" or "LeaseKeepAlive", the client has
// open now.
func (r *Recorder) Open(method string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open[method]
}

// Counts returns the count of every method called.
func (r *Recorder) Counts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}

// Calls returns every call since the start or [Recorder.Reset], in the order
// in which they began.
func (r *Recorder) Calls() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := make([]Call, len(r.calls))
	for i, c := range r.calls {
		calls[i] = *c
	}
	return calls
}

// Writes returns how many calls needed a raft entry. See [Call.IsWrite].
func (r *Recorder) Writes() int {
	n := 0
	for _, c := range r.Calls() {
		if c.IsWrite() {
			n++
		}
	}
	return n
}

// Bytes returns the size of all messages, without what HTTP/2 adds.
func (r *Recorder) Bytes() (sent, received int64) { return r.sent.Load(), r.received.Load() }

// Reset forgets counts, calls and bytes. Hooks stay.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts, r.calls = nil, nil
	r.sent.Store(0)
	r.received.Store(0)
}

// Hook lets fn stand in for every unary call of a method, or of all methods if
// it is "", until remove is called. Of several hooks the latest is the outermost.
func (r *Recorder) Hook(method string, fn UnaryHook) (remove func()) {
	h := &unaryHook{method: method, fn: fn}
	r.addHook(h)
	return func() { r.removeHook(h) }
}

func (r *Recorder) addHook(h *unaryHook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hooks = append(slices.Clone(r.hooks), h)
}

func (r *Recorder) removeHook(h *unaryHook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hooks = without(r.hooks, h)
}

// DropReplies lets the next n calls of a unary method be carried out and then
// fail with codes.Unavailable, as when the connection breaks before the answer
// arrives. Calls that fail by themselves do not count. The channel is closed
// when the last reply was dropped.
func (r *Recorder) DropReplies(method string, n int) <-chan struct{} {
	return r.failNext(method, n, func(invoke func() error) (error, bool) {
		if err := invoke(); err != nil {
			return err, false
		}
		return status.Error(codes.Unavailable, "etcdtest: reply dropped"), true
	})
}

// FailCalls lets the next n calls of a unary method fail with the code, without
// reaching the server. The channel is closed when the last of them failed.
func (r *Recorder) FailCalls(method string, n int, code codes.Code) <-chan struct{} {
	return r.RefuseCalls(method, n, status.Error(code, "etcdtest: call failed"))
}

// RefuseCalls is [Recorder.FailCalls] with an error that the server could send, such as those of
// package rpctypes that have GRPC in their names.
func (r *Recorder) RefuseCalls(method string, n int, err error) <-chan struct{} {
	return r.failNext(method, n, func(func() error) (error, bool) { return err, true })
}

// failNext hooks a method until fail has said n times that it did.
func (r *Recorder) failNext(method string, n int, fail func(invoke func() error) (error, bool)) <-chan struct{} {
	done := make(chan struct{})
	if n <= 0 {
		close(done)
		return done
	}
	var left, failed atomic.Int64
	left.Store(int64(n))
	var remove func()
	hooked := make(chan struct{})
	remove = r.Hook(method, func(_ context.Context, _ any, invoke func() error) error {
		if left.Add(-1) < 0 { // a call that began before the hook was removed
			left.Add(1)
			return invoke()
		}
		err, counts := fail(invoke)
		if !counts {
			left.Add(1)
			return err
		}
		if failed.Add(1) == int64(n) {
			<-hooked // a call may come before remove is set
			remove()
			close(done)
		}
		return err
	})
	close(hooked)
	return done
}

// unary is the interceptor for everything but streams.
func (r *Recorder) unary(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	short := path.Base(method)
	call := r.record(&Call{Method: short, Request: clone(req)})
	invoke := func() error { return invoker(ctx, method, req, reply, cc, opts...) }
	for _, h := range r.hooksFor(short) {
		inner := invoke
		invoke = func() error { return h.fn(ctx, req, inner) }
	}
	err := invoke()
	r.finish(call, reply, err)
	return err
}

func (r *Recorder) hooksFor(method string) []*unaryHook {
	r.mu.Lock()
	defer r.mu.Unlock()
	var hooks []*unaryHook
	for _, h := range r.hooks {
		if h.method == "" || h.method == method {
			hooks = append(hooks, h)
		}
	}
	return hooks
}

// record keeps a call that the client makes, and counts it.
func (r *Recorder) record(c *Call) *Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count(c.Method)
	r.keep(c)
	return c
}

// count needs mu held.
func (r *Recorder) count(method string) {
	if r.counts == nil {
		r.counts = make(map[string]int)
	}
	r.counts[method]++
}

// keep needs mu held.
func (r *Recorder) keep(c *Call) {
	c.Start = time.Now()
	if !r.Forget {
		r.calls = append(r.calls, c)
	}
}

func (r *Recorder) finish(c *Call, reply any, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Done, c.Err, c.Took = true, err, time.Since(c.Start)
	if err == nil {
		c.Response = clone(reply)
	}
}

// clone copies a message: wrappers such as clientv3/namespace edit theirs.
func clone(msg any) proto.Message {
	m, ok := msg.(proto.Message)
	if !ok {
		return nil
	}
	return proto.Clone(m)
}

// without returns list without item, leaving the list itself to those who
// may be walking it.
func without[T comparable](list []T, item T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return x == item })
}

// byteCounter is the stats handler of a Recorder.
type byteCounter struct{ r *Recorder }

// TagRPC does nothing.
func (byteCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// TagConn does nothing.
func (byteCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn does nothing.
func (byteCounter) HandleConn(context.Context, stats.ConnStats) {}

// HandleRPC counts payloads.
func (b byteCounter) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.OutPayload:
		b.r.sent.Add(int64(s.WireLength))
	case *stats.InPayload:
		b.r.received.Add(int64(s.WireLength))
	}
}
