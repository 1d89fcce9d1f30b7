package perf

import (
	"context"
	"fmt"
	"time"
)

// pause lets what a side goes on doing after it has returned end before the next one's
// turn.
const pause = 5 * time.Millisecond

// Measured is what the sides of a work measured.
type Measured struct {
	Work  Work
	Sides []Side
	// Rounds has the samples of each round, in the order of the sides.
	Rounds [][]Samples
	// Took is how long it all took.
	Took time.Duration
}

// One measures a work: its sides do it in turn, none always the first, after a round each
// that does not count. Work that is done only once is long enough to go without that.
func (r Runner) One(ctx context.Context, p *Pool, w Work) (*Measured, error) {
	began := time.Now()
	m := &Measured{Work: w}
	rounds := w.Rounds
	if r.Quick {
		rounds = w.Quick
	}
	if rounds < 1 {
		return nil, fmt.Errorf("%s: %d rounds: want at least 1", w.ID(), rounds)
	}
	err := w.with(ctx, p, r.Quick, func(sides []Side) error {
		m.Sides = sides
		if rounds > 1 {
			if _, err := turns(ctx, w, sides, 0); err != nil {
				return err
			}
		}
		for n := range rounds {
			samples, err := turns(ctx, w, sides, n)
			if err != nil {
				return err
			}
			m.Rounds = append(m.Rounds, samples)
		}
		return nil
	})
	m.Took = time.Since(began)
	return m, err
}

// turns lets each side do the work once, beginning with the n-th.
func turns(ctx context.Context, w Work, sides []Side, n int) ([]Samples, error) {
	round := make([]Samples, len(sides))
	for j := range sides {
		i := (n + j) % len(sides)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		samples, err := w.round(ctx, sides[i])
		if err != nil {
			return nil, err
		}
		round[i] = samples
	}
	return round, nil
}

// of returns the samples of a side, by round.
func (m *Measured) of(side int, metric string) [][]float64 {
	var all [][]float64
	for _, r := range m.Rounds {
		all = append(all, r[side][metric])
	}
	return all
}

// Figures returns what the samples say, the most telling first.
func (m *Measured) Figures() []Figure {
	var all []Figure
	for _, metric := range m.Work.Metrics {
		ours := m.of(0, metric.Name)
		for _, stat := range metric.Stats {
			for i, s := range m.Sides {
				theirs := m.of(i, metric.Name)
				samples := pool(theirs)
				f := Figure{
					Work: m.Work.Name, Servers: m.Work.On.String(), Metric: metric.Name, Unit: metric.Unit, More: metric.More,
					Stat: stat.String(), Side: s.Name, Lacks: s.Lacks, Value: stat.of(samples), Rounds: len(m.Rounds), Samples: len(samples),
				}
				if i > 0 {
					f.Ratio = ratioOf(metric, stat, ours, theirs)
				}
				all = append(all, f)
			}
		}
	}
	return all
}
