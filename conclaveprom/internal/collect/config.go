package collect

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Option configures metrics. It is sealed: nobody else has the configuration.
type Option interface{ Apply(c *Config) error }

// Config is what options set.
type Config struct {
	// Name and Key map the names of locks, and the keys of streams, to labels.
	Name func(kind, name string) string
	Key  func(key string) string
	// Buckets are the upper bounds of classic histograms.
	Buckets []float64
	// Labels are on every metric.
	Labels prometheus.Labels
}

// All is the label of all names, unless they are mapped to others.
const All = "all"

// Buckets are the default bounds of classic histograms in seconds: three for each power
// of ten, from a tenth of a millisecond, which is what an uncontended lock on a fast
// network takes, to a minute.
func Buckets() []float64 {
	return []float64{
		.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05,
		.1, .25, .5, 1, 2.5, 5, 10, 30, 60,
	}
}

// NewConfig returns the defaults changed by opts, or the joined errors of all options
// that are wrong.
func NewConfig(pkg string, opts []Option) (Config, error) {
	c := Config{
		Name:    func(string, string) string { return All },
		Key:     func(string) string { return All },
		Buckets: Buckets(),
	}
	var errs []error
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errors.New("option is nil: must come from one of the With functions"))
			continue
		}
		errs = append(errs, o.Apply(&c))
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, fmt.Errorf("%s: %w", pkg, err)
	}
	return c, nil
}

// Opts returns the options of a metric.
func (c Config) Opts(name, help string) prometheus.Opts {
	return prometheus.Opts{Namespace: "conclave", Name: name, Help: help, ConstLabels: c.Labels}
}

// Desc returns the description of a metric that is made when it is collected.
func (c Config) Desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("conclave_"+name, help, labels, c.Labels)
}

// Counter returns a counter with labels.
func (c Config) Counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts(c.Opts(name, help)), labels)
}

// Gauge returns a gauge with labels.
func (c Config) Gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts(c.Opts(name, help)), labels)
}

const (
	// growth is by how much a bucket of a native histogram is wider than the one before.
	growth = 1.1
	// maxNative bounds their number: from a tenth of a millisecond to a minute it takes
	// 140, of which few are in use at a time.
	maxNative = 160
)

// Histogram returns a histogram of durations with labels, classic and native: a server
// that scrapes native histograms takes those.
func (c Config) Histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	o := c.Opts(name, help)
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: o.Namespace, Name: o.Name, Help: o.Help, ConstLabels: o.ConstLabels, Buckets: c.Buckets,
		NativeHistogramBucketFactor: growth, NativeHistogramMaxBucketNumber: maxNative,
	}, labels)
}

type option func(c *Config) error

func (o option) Apply(c *Config) error { return o(c) }

// WithName maps names of locks to labels.
func WithName(label func(kind, name string) string) Option {
	return option(func(c *Config) error {
		if label == nil {
			return errors.New("name label is nil: must be a function; leave the option out for one label for all")
		}
		c.Name = label
		return nil
	})
}

// WithKey maps keys of streams to labels.
func WithKey(label func(key string) string) Option {
	return option(func(c *Config) error {
		if label == nil {
			return errors.New("watch label is nil: must be a function; leave the option out for one label for all")
		}
		c.Key = label
		return nil
	})
}

// WithBuckets sets the bounds of classic histograms.
func WithBuckets(seconds []float64) Option {
	return option(func(c *Config) error {
		for i, bound := range seconds {
			if bound <= 0 || i > 0 && bound <= seconds[i-1] {
				return fmt.Errorf("buckets %v: must be positive and grow", seconds)
			}
		}
		if len(seconds) == 0 {
			return errors.New("no buckets: must be at least one; leave the option out for the defaults")
		}
		c.Buckets = slices.Clone(seconds)
		return nil
	})
}

// WithLabels puts labels on every metric.
func WithLabels(labels prometheus.Labels) Option {
	return option(func(c *Config) error {
		c.Labels = maps.Clone(labels)
		return nil
	})
}
