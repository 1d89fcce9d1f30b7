package collect

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Locks are the metrics of acquisitions and holds. Values of labels are given in the
// order in which New was told them; the methods with a reason take it last.
type Locks struct {
	holds, waiters         *prometheus.GaugeVec
	wait, hold             *prometheus.HistogramVec
	grants, failures, lost *prometheus.CounterVec
	reasons                Reasons
	known                  sync.Map // the label values for which Begin was called, joined
}

// Reasons are the values that the label "reason" takes.
type Reasons struct{ Failures, Losses []string }

// NewLocks returns the metrics of what is called subsystem, with labels.
func (c Config) NewLocks(subsystem string, reasons Reasons, labels ...string) *Locks {
	and := func(label string) []string { return append(slices.Clip(labels), label) }
	return &Locks{
		reasons:  reasons,
		holds:    c.Gauge(subsystem+"_holds", "Locks held now by this process.", labels...),
		waiters:  c.Gauge(subsystem+"_waiters", "Acquisitions of this process that wait now for somebody else.", labels...),
		wait:     c.Histogram(subsystem+"_wait_seconds", "Time from the call to the grant, of acquisitions that succeeded.", labels...),
		hold:     c.Histogram(subsystem+"_hold_seconds", "Time from the grant to the end of the hold, however it ended.", labels...),
		grants:   c.Counter(subsystem+"_grants_total", "Acquisitions that succeeded, by how they came to own.", and("via")...),
		failures: c.Counter(subsystem+"_failures_total", "Acquisitions that failed, by kind of reason.", and("reason")...),
		lost:     c.Counter(subsystem+"_losses_total", "Holds that ended without having been given up, by kind of reason.", and("reason")...),
	}
}

// Collectors returns all metrics.
func (l *Locks) Collectors() []prometheus.Collector {
	return []prometheus.Collector{l.holds, l.waiters, l.wait, l.hold, l.grants, l.failures, l.lost}
}

// Begin makes the gauges and the counters of what goes wrong exist, at zero: of a counter
// that is born at one, a server sees no increase.
func (l *Locks) Begin(labels ...string) {
	if _, known := l.known.LoadOrStore(join(labels), true); known {
		return
	}
	l.holds.WithLabelValues(labels...)
	l.waiters.WithLabelValues(labels...)
	for _, reason := range l.reasons.Failures {
		l.failures.WithLabelValues(append(slices.Clip(labels), reason)...)
	}
	for _, reason := range l.reasons.Losses {
		l.lost.WithLabelValues(append(slices.Clip(labels), reason)...)
	}
}

// Waiting counts a wait that begins.
func (l *Locks) Waiting(labels ...string) { l.waiters.WithLabelValues(labels...).Inc() }

// Waited counts a wait that is over.
func (l *Locks) Waited(labels ...string) { l.waiters.WithLabelValues(labels...).Dec() }

// Granted counts a grant that took so long, by how it came about.
func (l *Locks) Granted(took time.Duration, via string, labels ...string) {
	l.holds.WithLabelValues(labels...).Inc()
	l.wait.WithLabelValues(labels...).Observe(took.Seconds())
	l.grants.WithLabelValues(append(labels, via)...).Inc()
}

// Failed counts an acquisition that failed.
func (l *Locks) Failed(reason string, labels ...string) {
	l.failures.WithLabelValues(append(labels, reason)...).Inc()
}

// Released counts a hold that has ended after so long, lost if there is a reason.
func (l *Locks) Released(took time.Duration, reason string, labels ...string) {
	l.holds.WithLabelValues(labels...).Dec()
	l.hold.WithLabelValues(labels...).Observe(took.Seconds())
	if reason != "" {
		l.lost.WithLabelValues(append(labels, reason)...).Inc()
	}
}
