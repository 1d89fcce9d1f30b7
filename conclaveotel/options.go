package conclaveotel

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
)

// Option configures a [Tracer].
type Option interface{ apply(c *config) error }

type config struct{ provider trace.TracerProvider }

type option func(c *config) error

func (o option) apply(c *config) error { return o(c) }

// WithTracerProvider sets where spans go: the global provider by default, as it is when
// [New] is called or set later.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return option(func(c *config) error {
		if provider == nil {
			return errors.New("tracer provider is nil: must not be; leave the option out for the global one")
		}
		c.provider = provider
		return nil
	})
}

// newConfig returns the defaults changed by opts, or the joined errors of all options
// that are wrong.
func newConfig(opts []Option) (config, error) {
	c := config{provider: otel.GetTracerProvider()}
	var errs []error
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errors.New("option is nil: must come from one of the With functions"))
			continue
		}
		errs = append(errs, o.apply(&c))
	}
	if err := errors.Join(errs...); err != nil {
		return config{}, fmt.Errorf("conclaveotel: %w", err)
	}
	return c, nil
}
