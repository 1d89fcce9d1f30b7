package conclaveprom

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-go/conclave/conclaveprom/internal/collect"
	"github.com/conclave-go/conclave/lease"
)

// leases are asked for their state when they are scraped.
type leases struct {
	sessions, leases, age, doubts *prometheus.Desc
	closed                        prometheus.Counter

	mu     sync.Mutex
	live   map[*lease.Lease]struct{}
	opened map[*lease.Session]struct{}
}

func newLeases(c collect.Config) *leases {
	return &leases{
		sessions: c.Desc("sessions", "Sessions that were not closed, by state; a lost one has no lease now.", "state"),
		leases:   c.Desc("leases", "Leases that are valid, by state.", "state"),
		age:      c.Desc("lease_renewal_age_seconds", "Time since the last confirmed renewal was sent, of the valid lease for which it is longest."),
		doubts:   c.Desc("doubtful_keys", "Keys of which it is not known whether they are in etcd, after replies were lost or removals failed."),
		closed:   prometheus.NewCounter(prometheus.CounterOpts(c.Opts("sessions_closed_total", "Sessions that were closed, or whose client was."))),
		live:     make(map[*lease.Lease]struct{}),
		opened:   make(map[*lease.Session]struct{}),
	}
}

// changed notes that a lease has another state.
func (s *leases) changed(l *lease.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := l.State().Ended()
	if ended {
		delete(s.live, l)
	} else {
		s.live[l] = struct{}{}
	}
	switch session := l.Session(); {
	case session == nil:
	case session.State() == lease.Closed:
		s.forget(session)
	case !ended: // what has ended may be the last that is told of a session
		s.opened[session] = struct{}{}
	}
}

// forget drops a session that is closed, which is counted once: each of its leases is told
// of. mu must be held.
func (s *leases) forget(session *lease.Session) {
	if _, known := s.opened[session]; known {
		delete(s.opened, session)
		s.closed.Inc()
	}
}

// Describe implements [prometheus.Collector].
func (s *leases) Describe(to chan<- *prometheus.Desc) {
	to <- s.sessions
	to <- s.leases
	to <- s.age
	to <- s.doubts
	s.closed.Describe(to)
}

// Collect implements [prometheus.Collector].
func (s *leases) Collect(to chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := make(map[lease.State]int)
	for session := range s.opened {
		state := session.State()
		if states[state]++; state == lease.Closed {
			s.forget(session)
		}
	}
	for _, state := range []lease.State{lease.Healthy, lease.Suspended, lease.Lost} {
		to <- gauge(s.sessions, states[state], state.String())
	}
	s.collectLeases(to)
	s.closed.Collect(to)
}

// collectLeases delivers what is known of the leases. mu must be held.
func (s *leases) collectLeases(to chan<- prometheus.Metric) {
	states := make(map[lease.State]int)
	var oldest time.Duration
	doubts := 0
	for l := range s.live {
		states[l.State()]++
		oldest = max(oldest, l.SinceRenewal())
		doubts += l.Doubts()
	}
	for _, state := range []lease.State{lease.Healthy, lease.Suspended} {
		to <- gauge(s.leases, states[state], state.String())
	}
	if len(s.live) > 0 { // without a lease there is nothing to be renewed
		to <- prometheus.MustNewConstMetric(s.age, prometheus.GaugeValue, oldest.Seconds())
	}
	to <- gauge(s.doubts, doubts)
}

func gauge[N int | int64](d *prometheus.Desc, n N, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
}
