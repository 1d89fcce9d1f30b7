package perf

import (
	"context"
	"errors"
	"fmt"
)

// Once lets each side do the work once, as in a quick run, and returns what they measured,
// by their names. It is for the tests of works.
func Once(ctx context.Context, pool *Pool, w Work) (measured map[string]Samples, err error) {
	err = w.with(ctx, pool, true, func(sides []Side) error {
		measured = make(map[string]Samples)
		for _, s := range sides {
			samples, err := w.round(ctx, s)
			if err != nil {
				return err
			}
			measured[s.Name] = samples
		}
		return nil
	})
	return measured, err
}

// with begins the work, gives its sides to do, and ends it.
func (w Work) with(ctx context.Context, pool *Pool, quick bool, do func(sides []Side) error) (err error) {
	env, err := pool.Env(ctx, w.On, quick)
	if err != nil {
		return fmt.Errorf("%s: %w", w.ID(), err)
	}
	defer func() { err = errors.Join(err, wrap(w.ID()+": closing clients", env.Close())) }()
	sides, end, err := w.Begin(ctx, env)
	if end != nil {
		defer func() { err = errors.Join(err, wrap(w.ID()+": ending", end())) }()
	}
	if err != nil {
		return fmt.Errorf("%s: beginning: %w", w.ID(), err)
	}
	if err := checkSides(sides); err != nil {
		return fmt.Errorf("%s: %w", w.ID(), err)
	}
	return do(sides)
}

// round lets a side do the work once, and checks that it has measured what was declared.
func (w Work) round(ctx context.Context, s Side) (Samples, error) {
	samples, err := s.Round(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", w.ID(), s.Name, err)
	}
	for _, m := range w.Metrics {
		if len(samples[m.Name]) == 0 {
			return nil, fmt.Errorf("%s: %s: no samples of %q", w.ID(), s.Name, m.Name)
		}
	}
	if len(samples) > len(w.Metrics) {
		return nil, fmt.Errorf("%s: %s: samples of %d metrics: %d are declared", w.ID(), s.Name, len(samples), len(w.Metrics))
	}
	return samples, nil
}

func checkSides(sides []Side) error {
	if len(sides) == 0 || sides[0].Name != Ours {
		return fmt.Errorf("the first side is not %q", Ours)
	}
	seen := make(map[string]bool)
	for _, s := range sides {
		if s.Name == "" || seen[s.Name] {
			return fmt.Errorf("side %q: want names, each of one side", s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}

// Ours is the name of the side that is compared with the others.
const Ours = "conclave"

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
