package conclaveprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-go/conclave/conclaveprom/internal/collect"
)

// Option configures [Metrics]. The options of this package are also those of package
// redlockprom.
type Option = collect.Option

// WithNameLabel maps locks and elections to the label name, for instance by what they
// are for: "job/4711" to "job". The function must return one of a few values, always the
// same for the same arguments; it is called for each event, by several goroutines, and
// must not block. kind is one of those of lease.Event, or "redlock". By default all are
// "all".
func WithNameLabel(label func(kind, name string) string) Option { return collect.WithName(label) }

// WithWatchLabel maps keys and prefixes of streams and caches to the label name. The
// function must return one of a few values, always the same for the same key. By default
// all are "all".
func WithWatchLabel(label func(key string) string) Option { return collect.WithKey(label) }

// WithBuckets sets the upper bounds of classic histograms in seconds: positive and
// growing. The default is 18 bounds from 0.0001 to 60. Native histograms are not changed.
func WithBuckets(seconds ...float64) Option { return collect.WithBuckets(seconds) }

// WithConstLabels puts labels on every metric, for a program that has several Metrics.
func WithConstLabels(labels prometheus.Labels) Option { return collect.WithLabels(labels) }
