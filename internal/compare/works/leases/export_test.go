package leases

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// Meter is a meter to be read by tests.
type Meter struct{ meter }

var _ stats.Handler = (*Meter)(nil)

// Option lets a client be metered.
func (m *Meter) Option() grpc.DialOption { return grpc.WithStatsHandler(&m.meter) }

// Read returns how many requests and bytes there were.
func (m *Meter) Read() (requests, bytes int64) {
	r := m.read()
	return r.sent, r.bytes
}
