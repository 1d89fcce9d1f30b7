package redlockprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-go/conclave/conclaveprom/internal/collect"
	"github.com/conclave-go/conclave/redlock"
)

// Option configures [Metrics]: one of package conclaveprom's.
type Option = collect.Option

// Metrics are the metrics of any number of nodes. It is a [prometheus.Collector], to be
// registered once. Use [New]; the zero value is not valid.
type Metrics struct {
	config   collect.Config
	locks    *collect.Locks
	extended *prometheus.HistogramVec
	failed   *prometheus.CounterVec
	nodes    *prometheus.CounterVec
	quora    *prometheus.CounterVec
	all      []prometheus.Collector
}

// New returns metrics without any nodes: those are made with the observer that Redlock
// returns.
func New(opts ...Option) (*Metrics, error) {
	c, err := collect.NewConfig("redlockprom", opts)
	if err != nil {
		return nil, err
	}
	m := &Metrics{
		config:   c,
		locks:    c.NewLocks("redlock", reasons(), "name"),
		extended: c.Histogram("redlock_extension_seconds", "Time that it took to extend a hold, of extensions that succeeded.", "name"),
		failed:   c.Counter("redlock_extension_failures_total", "Attempts to extend a hold that failed and left its deadline where it was.", "name"),
		nodes:    c.Counter("redlock_node_failures_total", "Requests that a node did not answer in time, or with an error, or may not be counted in.", "node", "op"),
		quora:    c.Counter("redlock_quorum_failures_total", "Requests in which so many nodes failed that the others were no quorum.", "op"),
	}
	for _, op := range []string{"acquire", "extend", "release"} {
		m.quora.WithLabelValues(op)
	}
	m.all = append(m.locks.Collectors(), m.extended, m.failed, m.nodes, m.quora)
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

// Redlock returns the observer for nodes and the mutexes on them.
func (m *Metrics) Redlock() redlock.Observer {
	return redlock.Observer{
		Waiting: func(e redlock.Event) { m.locks.Begin(m.name(e)); m.locks.Waiting(m.name(e)) },
		Waited:  func(e redlock.Event) { m.locks.Waited(m.name(e)) },
		Granted: func(e redlock.Event) {
			m.locks.Begin(m.name(e))
			m.locks.Granted(e.Took, via(e), m.name(e))
		},
		Failed: func(e redlock.Event) {
			m.locks.Begin(m.name(e))
			m.locks.Failed(e.Reason.String(), m.name(e))
		},
		Extended: func(e redlock.Event) {
			if e.Err != nil {
				m.failed.WithLabelValues(m.name(e)).Inc()
				return
			}
			m.extended.WithLabelValues(m.name(e)).Observe(e.Took.Seconds())
		},
		Released: func(e redlock.Event) { m.locks.Released(e.Took, e.Reason.String(), m.name(e)) },
		NodeFailed: func(f redlock.NodeFailure) {
			m.nodes.WithLabelValues(f.Node, f.Op).Inc()
		},
		NoQuorum: func(op string) { m.quora.WithLabelValues(op).Inc() },
	}
}

// reasons are those for which acquisitions fail and holds are lost.
func reasons() collect.Reasons {
	return collect.Reasons{
		Failures: words(redlock.ReasonTaken, redlock.ReasonNoQuorum, redlock.ReasonCanceled, redlock.ReasonTimeout, redlock.ReasonClosed, redlock.ReasonOther),
		Losses:   words(redlock.ReasonDeadline, redlock.ReasonDenied, redlock.ReasonClosed),
	}
}

func words(reasons ...redlock.Reason) (all []string) {
	for _, r := range reasons {
		all = append(all, r.String())
	}
	return all
}

// name returns the label of a lock.
func (m *Metrics) name(e redlock.Event) string { return m.config.Name("redlock", e.Name) }

// via says how a lock was granted.
func via(e redlock.Event) string {
	if e.Waited {
		return "wait"
	}
	return "free"
}
