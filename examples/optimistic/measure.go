package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

const (
	blindAtOnce, blindRounds = 8, 5
	spreadAtOnce, spreadOver = 16, 64
)

// setting is what is measured.
type setting struct {
	atOnce   int // how many add at a time
	numbers  int // that they choose from, at random
	work     time.Duration
	duration time.Duration
}

// act is some settings with one thing in common.
type act struct {
	intro    string
	settings []setting
}

func acts(o options) []act {
	grow := func(work time.Duration) (s []setting) {
		for _, n := range []int{1, 2, 4, 8, 16} {
			s = append(s, setting{atOnce: n, numbers: 1, work: work, duration: o.duration})
		}
		return s
	}
	return []act{
		{"One number, and nothing between read and write.", grow(0)},
		{fmt.Sprintf("One number, and %s of work between read and write.", o.work), grow(o.work)},
		{fmt.Sprintf("%d numbers, chosen at random, and %s of work.", spreadOver, o.work), []setting{
			{atOnce: spreadAtOnce, numbers: spreadOver, work: o.work, duration: o.duration},
		}},
	}
}

// measured is what one of the two ways did in a setting.
type measured struct {
	took    []time.Duration // per addition, sorted
	tries   int
	elapsed time.Duration
}

// perSecond returns how many additions there were in a second.
func (m *measured) perSecond() float64 { return float64(len(m.took)) / m.elapsed.Seconds() }

// triesEach returns how often the work was done for one addition.
func (m *measured) triesEach() float64 { return float64(m.tries) / float64(len(m.took)) }

// result is both ways in one setting.
type result struct {
	setting

	swap, lock measured
}

// ratio returns how many additions by swapping there are for one under the lock.
func (r *result) ratio() float64 { return r.swap.perSecond() / r.lock.perSecond() }

// String says it in a line.
func (r *result) String() string {
	return fmt.Sprintf("%2d at once: %.0f/s swapping (%.2f tries), %.0f/s locking, ratio %.2f",
		r.atOnce, r.swap.perSecond(), r.swap.triesEach(), r.lock.perSecond(), r.ratio())
}

// compare measures both ways, one after the other, on keys of their own.
func compare(ctx context.Context, s *lease.Session, set setting, prefix string) (r result, err error) {
	r.setting = set
	r.swap, err = measure(ctx, s, set, prefix+"swap/", func(n *number, _ *lock.Mutex) (int, error) {
		return n.addSwapping(ctx)
	})
	if err != nil {
		return r, err
	}
	r.lock, err = measure(ctx, s, set, prefix+"lock/", func(n *number, m *lock.Mutex) (int, error) {
		return 1, n.addLocked(ctx, m)
	})
	return r, err
}

// measure has several add for a while, and counts what the numbers say afterwards.
func measure(
	ctx context.Context, s *lease.Session, set setting, prefix string, add func(*number, *lock.Mutex) (tries int, err error),
) (measured, error) {
	numbers, mutexes := make([]*number, set.numbers), make([]*lock.Mutex, set.numbers)
	for i := range numbers {
		key := fmt.Sprintf("%s%d", prefix, i)
		numbers[i] = &number{client: s.Client(), key: key, work: set.work}
		var err error
		if mutexes[i], err = lock.NewMutex(s, key); err != nil {
			return measured{}, err
		}
	}
	var (
		mu  sync.Mutex // protects sum and err
		sum measured
		err error
		all sync.WaitGroup
	)
	began := time.Now()
	for range set.atOnce {
		all.Go(func() {
			for time.Since(began) < set.duration {
				i, start := rand.IntN(set.numbers), time.Now()
				tries, failed := add(numbers[i], mutexes[i])
				mu.Lock()
				sum.took = append(sum.took, time.Since(start))
				sum.tries += tries
				err = errors.Join(err, failed)
				mu.Unlock()
				if failed != nil {
					return
				}
			}
		})
	}
	all.Wait()
	sum.elapsed = time.Since(began)
	slices.Sort(sum.took)
	if err != nil {
		return sum, err
	}
	return sum, check(ctx, numbers, len(sum.took))
}

// check adds up the numbers: each addition has to be in them, once.
func check(ctx context.Context, numbers []*number, additions int) error {
	var total int64
	for _, n := range numbers {
		at, err := n.read(ctx)
		if err != nil {
			return err
		}
		total += at.value
	}
	if total != int64(additions) {
		return fmt.Errorf("the numbers add up to %d after %d additions", total, additions)
	}
	return nil
}
