package conclaveprom

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-go/conclave/conclaveprom/internal/collect"
	"github.com/conclave-go/conclave/lease"
)

// Metrics are the metrics of any number of sessions, streams and caches. It is a
// [prometheus.Collector], to be registered once. Use [New]; the zero value is not valid.
type Metrics struct {
	config  collect.Config
	locks   *collect.Locks
	calls   *collect.Calls
	lost    *prometheus.CounterVec
	renewal *prometheus.HistogramVec
	leases  *leases
	streams *streams
	shards  *shards
	all     []prometheus.Collector
}

// New returns metrics without any session, stream or cache: those are made with the
// observers that the methods return.
func New(opts ...Option) (*Metrics, error) {
	c, err := collect.NewConfig("conclaveprom", opts)
	if err != nil {
		return nil, err
	}
	m := &Metrics{
		config:  c,
		locks:   c.NewLocks("lock", reasons(), "kind", "name"),
		calls:   c.NewCalls("lock", "kind", "name"),
		lost:    c.Counter("leases_lost_total", "Leases that ended without having been closed, by kind of reason.", "reason"),
		renewal: c.Histogram("lease_renewal_seconds", "Time from sending a renewal to its confirmation."),
		leases:  newLeases(c),
		streams: newStreams(c),
		shards:  newShards(c),
	}
	for _, reason := range []lease.Reason{lease.ReasonDeadline, lease.ReasonRevoked, lease.ReasonClosed} {
		m.lost.WithLabelValues(reason.String())
	}
	m.all = append(m.locks.Collectors(), m.calls, m.lost, m.renewal, m.leases, m.streams)
	m.all = append(m.all, m.shards.collectors()...)
	return m, nil
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, c := range m.all {
		c.Describe(to)
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	for _, c := range m.all {
		c.Collect(to)
	}
}

// Lease returns the observer for sessions and leases, with the locks and elections on
// them.
func (m *Metrics) Lease() lease.Observer {
	return lease.Observer{
		Renewed:   func(_ *lease.Lease, took time.Duration) { m.renewal.WithLabelValues().Observe(took.Seconds()) },
		Changed:   func(l *lease.Lease, _ lease.State) { m.leases.changed(l) },
		Lost:      func(_ *lease.Lease, cause error) { m.lost.WithLabelValues(lease.ReasonOf(cause).String()).Inc() },
		Acquiring: m.acquiring,
		Waiting:   func(e lease.Event) { m.locks.Waiting(m.labels(e)...) },
		Waited:    func(e lease.Event) { m.locks.Waited(m.labels(e)...) },
		Granted: func(e lease.Event) {
			m.calls.End(m.call(e))
			m.locks.Granted(e.Took, e.Via.String(), m.labels(e)...)
		},
		Failed: func(e lease.Event) {
			m.calls.End(m.call(e))
			m.locks.Failed(e.Reason.String(), m.labels(e)...)
		},
		Released: func(e lease.Event) {
			m.locks.Released(e.Took, e.Reason.String(), m.labels(e)...)
		},
	}
}

// reasons are those for which acquisitions fail and holds are lost.
func reasons() collect.Reasons {
	return collect.Reasons{
		Failures: words(lease.ReasonTaken, lease.ReasonCanceled, lease.ReasonTimeout, lease.ReasonClosed, lease.ReasonRefused, lease.ReasonOther),
		Losses:   words(lease.ReasonDeadline, lease.ReasonRevoked, lease.ReasonDeleted, lease.ReasonClosed),
	}
}

func words(reasons ...lease.Reason) (all []string) {
	for _, r := range reasons {
		all = append(all, r.String())
	}
	return all
}

// acquiring notes that an acquisition begins, in its context.
func (m *Metrics) acquiring(ctx context.Context, e lease.Event) context.Context {
	m.locks.Begin(m.labels(e)...)
	return context.WithValue(ctx, callKey{m}, m.calls.Begin(m.labels(e)...))
}

// callKey is the key of an acquisition's context for its [collect.Call].
type callKey struct{ *Metrics }

// call returns the acquisition of an event, nil if it is not known.
func (m *Metrics) call(e lease.Event) *collect.Call {
	if e.Context == nil {
		return nil
	}
	call, _ := e.Context.Value(callKey{m}).(*collect.Call)
	return call
}

// labels returns the values of an event's labels.
func (m *Metrics) labels(e lease.Event) []string {
	return []string{e.Kind, m.config.Name(e.Kind, e.Name)}
}
