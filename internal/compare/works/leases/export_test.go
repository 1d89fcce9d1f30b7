package leases

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

// Renewals is the work of so many locks.
func Renewals(holds int, ttl time.Duration) perf.Work { return renewals(holds, ttl) }

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
