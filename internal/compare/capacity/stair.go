package capacity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// The stairs.
const (
	Locking  = "lock and unlock"
	Renewing = "renewal"
)

// The quantities of a step.
const (
	Throughput = "throughput"
	P50        = "p50"
	P99        = "p99"
	LostCount  = "sessions lost"
)

// clientsOfWorkers is how many clients, with a session each, the workers share.
const clientsOfWorkers = 32

// doubling returns the numbers from first to largest, each twice the one before.
func doubling(first, largest int) []int {
	var all []int
	for n := first; n <= largest; n *= 2 {
		all = append(all, n)
	}
	return all
}

// rows makes rows of a step.
func (s Step) rows(stair string) []Row {
	return []Row{
		{Stairs, stair, s.Load, Throughput, "1/s", s.Throughput},
		{Stairs, stair, s.Load, P50, "ms", s.P50},
		{Stairs, stair, s.Load, P99, "ms", s.P99},
		{Stairs, stair, s.Load, LostCount, "", float64(s.Lost)},
	}
}

// newStep makes a step of how long its operations took.
func newStep(n int, took []time.Duration, elapsed time.Duration, lost int64) Step {
	return Step{
		Load: n, Throughput: float64(len(took)) / elapsed.Seconds(),
		P50: milliseconds(percentile(took, 50)), P99: milliseconds(percentile(took, 99)), Lost: int(lost),
	}
}

// lockStair lets more and more workers lock and unlock a name of their own, each as
// fast as it can.
func lockStair(ctx context.Context, cfg Config) (rows []Row, err error) {
	r, err := start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close(ctx)) }()
	var sessions []*lease.Session
	for range min(clientsOfWorkers, cfg.Workers) {
		s, err := r.ownSession(ctx)
		if err != nil {
			return nil, err
		}
		sessions = append(sessions, s)
	}
	for _, n := range doubling(1, cfg.Workers) {
		s, err := lockStep(ctx, r, sessions, n)
		if err != nil {
			return nil, fmt.Errorf("%d workers: %w", n, err)
		}
		cfg.tell("%s: %d workers: %.0f/s, p99 %.1f ms", Locking, n, s.Throughput, s.P99)
		rows = append(rows, s.rows(Locking)...)
	}
	return rows, nil
}

// lockStep lets n workers work for a while.
func lockStep(ctx context.Context, r *rig, sessions []*lease.Session, n int) (Step, error) {
	all, errs := make([][]time.Duration, n), make([]error, n)
	begun := time.Now()
	until := begun.Add(r.cfg.Step)
	var workers sync.WaitGroup
	for i := range n {
		workers.Go(func() { all[i], errs[i] = work(ctx, sessions[i%len(sessions)], i, until) })
	}
	workers.Wait()
	return newStep(n, slices.Concat(all...), time.Since(begun), r.lost.Swap(0)), errors.Join(errs...)
}

// work locks and unlocks until a time, and returns how long each took.
func work(ctx context.Context, s *lease.Session, worker int, until time.Time) ([]time.Duration, error) {
	m, err := lock.NewMutex(s, fmt.Sprintf("work/%04d", worker))
	if err != nil {
		return nil, err
	}
	var took []time.Duration
	for time.Now().Before(until) {
		begun := time.Now()
		if err := cycle(m.Lock)(ctx); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	return took, nil
}
