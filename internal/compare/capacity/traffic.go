package capacity

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/stats"
)

// traffic counts what clients send and receive: messages sent, that is calls and messages
// on streams, and bytes on the wire in both directions.
type traffic struct{ requests, bytes atomic.Int64 }

// TagRPC implements [stats.Handler].
func (t *traffic) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// TagConn implements [stats.Handler].
func (t *traffic) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements [stats.Handler].
func (t *traffic) HandleConn(context.Context, stats.ConnStats) {}

// HandleRPC implements [stats.Handler].
func (t *traffic) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.OutPayload:
		t.requests.Add(1)
		t.bytes.Add(int64(s.WireLength))
	case *stats.InPayload:
		t.bytes.Add(int64(s.WireLength))
	}
}
