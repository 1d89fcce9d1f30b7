package vtime

import (
	"context"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// Drag lets every message of a client take a random time on its way, as networks do;
// without it loops that wait for round numbers of milliseconds stay in step with the
// server's for ever. It also counts what the client sends. Use NewDrag and [WithDrag].
type Drag struct {
	most time.Duration

	mu    sync.Mutex
	draw  *rand.Rand
	calls map[string]int
}

// NewDrag returns a drag of 0 to most for each message, drawn from seed.
func NewDrag(seed uint64, most time.Duration) *Drag {
	return &Drag{most: most, draw: rand.New(rand.NewPCG(seed, 3)), calls: make(map[string]int)}
}

// WithDrag subjects a client to d.
func WithDrag(d *Drag) ClientOption {
	return WithDialOptions(grpc.WithChainUnaryInterceptor(d.unary), grpc.WithChainStreamInterceptor(d.stream))
}

// Counted returns how many requests have been sent, by method: those on streams are
// counted one by one, and the openings of streams as "Method (opened)".
func (d *Drag) Counted() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.calls)
}

func (d *Drag) count(method, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls[method[strings.LastIndexByte(method, '/')+1:]+what]++
}

// pass lets a message take its time.
func (d *Drag) pass(ctx context.Context) error {
	d.mu.Lock()
	takes := time.Duration(d.draw.Int64N(int64(d.most) + 1))
	d.mu.Unlock()
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

func (d *Drag) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	d.count(method, "")
	if err := d.pass(ctx); err != nil {
		return err
	}
	if err := call(ctx, method, req, reply, cc, opts...); err != nil {
		return err
	}
	return d.pass(ctx)
}

func (d *Drag) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	d.count(method, " (opened)")
	stream, err := open(ctx, desc, cc, method, opts...)
	return draggedStream{stream, d, method}, err
}

type draggedStream struct {
	grpc.ClientStream

	drag   *Drag
	method string
}

func (s draggedStream) SendMsg(m any) error {
	s.drag.count(s.method, "")
	if err := s.drag.pass(s.Context()); err != nil {
		return err
	}
	return s.ClientStream.SendMsg(m)
}

func (s draggedStream) RecvMsg(m any) error {
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	return s.drag.pass(s.Context())
}
