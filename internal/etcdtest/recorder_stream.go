package etcdtest

import (
	"context"
	"path"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// Direction is which way a message on a stream goes.
type Direction int

// The directions of a message.
const (
	Send Direction = iota // to the server
	Recv                  // from the server
)

// StreamHook looks at a message on a stream before it is sent, or after it was
// received, and may have it dropped. An error breaks the stream and is what the
// client gets: one of status code Unavailable looks like a broken connection,
// which makes clientv3 open a stream anew; to most others it gives up. The hook
// may wait, which delays the message and those behind it; that is the test's to
// end, as a stream's context is not passed on.
//
// The method is "LeaseKeepAlive" or "Watch", the message a request or a
// response of that method; it must not be kept.
type StreamHook func(method string, dir Direction, msg any) (drop bool, err error)

type streamHook struct{ fn StreamHook }

// HookStream shows fn every message on every stream until remove is called. Of
// several hooks the earliest is asked first, and the first that drops decides.
func (r *Recorder) HookStream(fn StreamHook) (remove func()) {
	h := &streamHook{fn: fn}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streamHooks = append(slices.Clone(r.streamHooks), h)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.streamHooks = without(r.streamHooks, h)
	}
}

// Stall holds back what arrives on the streams of a method, "Watch" or
// "LeaseKeepAlive", those opened later included, until release is called. Then it
// is received, in order. A stream that the client ends meanwhile ends. Stalling
// a method that is stalled changes nothing; one release is enough.
func (r *Recorder) Stall(method string) (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stalls == nil {
		r.stalls = make(map[string]chan struct{})
	}
	if r.stalls[method] == nil {
		r.stalls[method] = make(chan struct{})
	}
	stall := r.stalls[method]
	return func() { r.release(method, stall) }
}

// release ends a stall, unless it has ended.
func (r *Recorder) release(method string, stall chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stalls[method] == stall {
		delete(r.stalls, method)
		close(stall)
	}
}

// pass waits until the method is not stalled, or for the end of the stream.
func (r *Recorder) pass(ctx context.Context, method string) error {
	for {
		r.mu.Lock()
		stall := r.stalls[method]
		r.mu.Unlock()
		if stall == nil {
			return nil
		}
		select {
		case <-stall:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

// stream is the interceptor for streams.
func (r *Recorder) stream(
	ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	short := path.Base(method)
	r.mu.Lock()
	r.count(strings.TrimSuffix(short, "Stream") + "Stream")
	r.mu.Unlock()

	ctx, cancel := context.WithCancel(ctx)
	inner, err := streamer(ctx, desc, cc, method, opts...)
	if err != nil {
		cancel()
		return nil, err
	}
	r.opened(short, 1)
	context.AfterFunc(ctx, func() { r.opened(short, -1) })
	return &recordedStream{ClientStream: inner, recorder: r, method: short, ctx: ctx, cancel: cancel}, nil
}

// opened counts open streams.
func (r *Recorder) opened(method string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = make(map[string]int)
	}
	r.open[method] += n
}

// recordedStream is a stream whose messages are recorded and hooked.
type recordedStream struct {
	grpc.ClientStream
	recorder *Recorder
	method   string
	ctx      context.Context
	cancel   context.CancelFunc // breaks the stream; called when it has ended, too
}

// SendMsg sends msg unless a hook has it dropped.
func (s *recordedStream) SendMsg(msg any) error {
	s.recorder.record(&Call{Method: sentKind(s.method, msg), Stream: true, Request: clone(msg)})
	drop, err := s.ask(Send, msg)
	if drop || err != nil {
		return err
	}
	return s.ClientStream.SendMsg(msg)
}

// RecvMsg receives the next message that no hook has dropped.
func (s *recordedStream) RecvMsg(msg any) error {
	for {
		if err := s.ClientStream.RecvMsg(msg); err != nil {
			s.cancel()
			return err
		}
		received := clone(msg)
		s.recorder.mu.Lock()
		s.recorder.keep(&Call{Method: s.method, Stream: true, Response: received})
		s.recorder.mu.Unlock()
		if err := s.recorder.pass(s.ctx, s.method); err != nil {
			return err
		}
		drop, err := s.ask(Recv, msg)
		if err != nil {
			return err
		}
		if !drop {
			return nil
		}
	}
}

// ask puts msg before the hooks. An error of theirs breaks the stream.
func (s *recordedStream) ask(dir Direction, msg any) (drop bool, err error) {
	s.recorder.mu.Lock()
	hooks := s.recorder.streamHooks
	s.recorder.mu.Unlock()
	for _, h := range hooks {
		drop, err := h.fn(s.method, dir, msg)
		if err != nil {
			s.cancel()
		}
		if drop || err != nil {
			return drop, err
		}
	}
	return false, nil
}

// sentKind is the name under which a message sent on a stream is counted.
func sentKind(method string, msg any) string {
	req, ok := msg.(*pb.WatchRequest)
	switch {
	case !ok:
		return strings.TrimSuffix(method, "Stream")
	case req.GetCancelRequest() != nil:
		return "WatchCancel"
	case req.GetProgressRequest() != nil:
		return "WatchProgress"
	default:
		return method
	}
}
