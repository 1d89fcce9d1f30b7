package leases

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/stats"
)

// meter counts what a client sends and receives. It is a gRPC stats handler.
type meter struct {
	sent  atomic.Int64 // requests: calls, and messages on streams
	bytes atomic.Int64 // of messages both ways, as they are on the wire
}

// reading is what a meter shows.
type reading struct{ sent, bytes int64 }

func (m *meter) read() reading { return reading{m.sent.Load(), m.bytes.Load()} }

// since returns what came since an earlier reading.
func (r reading) since(earlier reading) reading {
	return reading{r.sent - earlier.sent, r.bytes - earlier.bytes}
}

// HandleRPC counts messages.
func (m *meter) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.OutPayload:
		m.sent.Add(1)
		m.bytes.Add(int64(s.WireLength))
	case *stats.InPayload:
		m.bytes.Add(int64(s.WireLength))
	}
}

// TagRPC does nothing; it is there because the interface wants it.
func (m *meter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// TagConn does nothing; it is there because the interface wants it.
func (m *meter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn does nothing; it is there because the interface wants it.
func (m *meter) HandleConn(context.Context, stats.ConnStats) {}
