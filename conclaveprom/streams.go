package conclaveprom

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-go/conclave/conclaveprom/internal/collect"
	"github.com/conclave-go/conclave/watch"
)

// streams are asked how far they are when they are scraped.
type streams struct {
	config             collect.Config
	open, lag, silence *prometheus.Desc
	grpcStreams        *prometheus.Desc
	resyncs, reopened  *prometheus.CounterVec

	mu     sync.Mutex
	opened map[*watch.Progress]struct{}
}

// following is the labels of streams and caches.
type following struct{ kind, name string }

func newStreams(c collect.Config) *streams {
	return &streams{
		config:      c,
		open:        c.Desc("watch_streams", "Streams and caches that are open.", "kind", "name"),
		lag:         c.Desc("watch_revision_lag", "Revisions received and not handled, of the stream or cache that has most.", "kind", "name"),
		silence:     c.Desc("watch_silence_seconds", "Time since the server was last heard of, of the stream or cache for which it is longest.", "kind", "name"),
		grpcStreams: c.Desc("watch_grpc_streams", "Streams of gRPC that the watches of all streams and caches of the same client have.", "kind", "name"),
		resyncs:     c.Counter("watch_resyncs_total", "States read because the history was compacted away.", "kind", "name"),
		reopened:    c.Counter("watch_reopened_total", "Watches opened again, by kind of reason.", "kind", "name", "reason"),
		opened:      make(map[*watch.Progress]struct{}),
	}
}

// Watch returns the observer for streams and caches.
func (m *Metrics) Watch() watch.Observer {
	s := m.streams
	return watch.Observer{
		Opened: func(p *watch.Progress) {
			f := s.labels(p)
			s.resyncs.WithLabelValues(f.kind, f.name) // so that it is scraped as 0
			s.mu.Lock()
			defer s.mu.Unlock()
			s.opened[p] = struct{}{}
		},
		Closed: func(p *watch.Progress, _ error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.opened, p)
		},
		Resynced: func(p *watch.Progress) {
			f := s.labels(p)
			s.resyncs.WithLabelValues(f.kind, f.name).Inc()
		},
		Reopened: func(p *watch.Progress, why watch.Reason) {
			f := s.labels(p)
			s.reopened.WithLabelValues(f.kind, f.name, why.String()).Inc()
		},
	}
}

func (s *streams) labels(p *watch.Progress) following {
	kind := "stream"
	if p.Cache() {
		kind = "cache"
	}
	return following{kind, s.config.Key(p.Key())}
}

// Describe implements [prometheus.Collector].
func (s *streams) Describe(to chan<- *prometheus.Desc) {
	to <- s.open
	to <- s.lag
	to <- s.silence
	to <- s.grpcStreams
	s.resyncs.Describe(to)
	s.reopened.Describe(to)
}

// Collect implements [prometheus.Collector].
func (s *streams) Collect(to chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type worst struct {
		open    int
		lag     int64
		silence time.Duration
		streams int
	}
	all := make(map[following]worst)
	for p := range s.opened {
		f := s.labels(p)
		w := all[f]
		all[f] = worst{w.open + 1, max(w.lag, p.Lag()), max(w.silence, p.Silence()), max(w.streams, p.GRPCStreams())}
	}
	for f, w := range all {
		to <- gauge(s.open, w.open, f.kind, f.name)
		to <- gauge(s.lag, w.lag, f.kind, f.name)
		to <- gauge(s.grpcStreams, w.streams, f.kind, f.name)
		to <- prometheus.MustNewConstMetric(s.silence, prometheus.GaugeValue, w.silence.Seconds(), f.kind, f.name)
	}
	s.resyncs.Collect(to)
	s.reopened.Collect(to)
}
