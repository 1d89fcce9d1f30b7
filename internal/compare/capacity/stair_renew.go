package capacity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-go/conclave/lease"
)

// renewals collects how long renewals took.
type renewals struct {
	mu   sync.Mutex
	took []time.Duration
}

// observer returns what tells them.
func (n *renewals) observer() lease.Option {
	return lease.WithObserver(lease.Observer{Renewed: func(_ *lease.Lease, took time.Duration) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.took = append(n.took, took)
	}})
}

// reset forgets all and returns it.
func (n *renewals) reset() []time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	took := n.took
	n.took = nil
	return took
}

// renewStair lets more and more sessions be renewed, until some are lost.
func renewStair(ctx context.Context, cfg Config) (rows []Row, err error) {
	const first = 100
	cfg.TTL = cfg.StairTTL
	r, err := start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close(ctx)) }()
	var seen renewals
	have := 0
	for _, n := range doubling(first, cfg.Renewed) {
		if _, err := r.crowd(ctx, n-have, seen.observer()); err != nil {
			if ctx.Err() == nil && r.lost.Load() > 0 { // too many to have more
				cfg.tell("%s: %d sessions: %v", Renewing, n, err)
				return rows, nil
			}
			return nil, fmt.Errorf("%d sessions: %w", n, err)
		}
		have = n
		if err := pause(ctx, cfg.StairTTL); err != nil { // all have been renewed since
			return nil, err
		}
		seen.reset()
		begun := time.Now()
		if err := pause(ctx, max(cfg.Step, cfg.StairTTL)); err != nil {
			return nil, err
		}
		s := newStep(n, seen.reset(), time.Since(begun), r.lost.Swap(0))
		cfg.tell("%s: %d sessions with a TTL of %s: %.0f/s, p99 %.1f ms, %d lost", Renewing, n, cfg.StairTTL, s.Throughput, s.P99, s.Lost)
		rows = append(rows, s.rows(Renewing)...)
		if s.Lost > 0 { // the rest of the stair is beyond
			break
		}
	}
	return rows, nil
}
