package collect

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Calls are the acquisitions under way. They are looked at when they are scraped, so
// that one that hangs can be seen while it does.
type Calls struct {
	calls, age *prometheus.Desc

	mu    sync.Mutex
	under map[*Call]struct{}
	// labels are the label values that there were calls with, joined.
	labels map[string][]string
}

// Call is an acquisition under way.
type Call struct {
	labels []string
	began  time.Time
}

// NewCalls returns the metrics of calls of what is called subsystem, with labels.
func (c Config) NewCalls(subsystem string, labels ...string) *Calls {
	return &Calls{
		calls:  c.Desc(subsystem+"_calls", "Acquisitions of this process under way, whether or not they wait for somebody else.", labels...),
		age:    c.Desc(subsystem+"_call_age_seconds", "Age of the oldest acquisition under way; 0 if there is none.", labels...),
		under:  make(map[*Call]struct{}),
		labels: make(map[string][]string),
	}
}

// Begin notes that an acquisition begins.
func (s *Calls) Begin(labels ...string) *Call {
	call := &Call{labels: labels, began: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.under[call] = struct{}{}
	s.labels[join(labels)] = labels
	return call
}

// End notes that an acquisition has ended; nil is none.
func (s *Calls) End(call *Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.under, call)
}

// Describe implements [prometheus.Collector].
func (s *Calls) Describe(to chan<- *prometheus.Desc) {
	to <- s.calls
	to <- s.age
}

// Collect implements [prometheus.Collector].
func (s *Calls) Collect(to chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls, oldest := make(map[string]int), make(map[string]time.Duration)
	for call := range s.under {
		key := join(call.labels)
		calls[key]++
		oldest[key] = max(oldest[key], time.Since(call.began))
	}
	for key, labels := range s.labels {
		to <- prometheus.MustNewConstMetric(s.calls, prometheus.GaugeValue, float64(calls[key]), labels...)
		to <- prometheus.MustNewConstMetric(s.age, prometheus.GaugeValue, oldest[key].Seconds(), labels...)
	}
}

// join returns label values as one key.
func join(labels []string) string { return strings.Join(labels, "\x00") }
