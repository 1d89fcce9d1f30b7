package redislocks

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

const (
	// longest is how long a lock is held at most before it is passed on: as long as the
	// others wait between two tries.
	longest = 200 * time.Millisecond
	// expiry bounds a contest.
	expiry = 2 * time.Minute
)

// errTwo means that a lock did not exclude.
var errTwo = errors.New("granted to two at a time")

// contest is what contenders for one lock share.
type contest struct {
	// For one that passes the lock on: how often.
	left int
	// For one that takes it as often as it can: for how long.
	window time.Duration

	mu       sync.Mutex
	held     bool
	began    time.Time
	grants   int
	released time.Time
	handOver []float64
	next     chan struct{} // closed by the next holder
}

// run lets all contend and returns the first error.
func (c *contest) run(ctx context.Context, all []Locker, key string) error {
	ctx, stop := context.WithTimeout(ctx, expiry)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.began, c.next = time.Now(), make(chan struct{})
	var wg sync.WaitGroup
	for _, lock := range all {
		wg.Go(func() {
			if err := c.contend(ctx, lock, key); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// contend takes part until the contest is over. Nobody's Lock is cancelled then: whoever
// waits is granted once more.
func (c *contest) contend(ctx context.Context, lock Locker, key string) error {
	for {
		h, err := lock(ctx, key)
		if err != nil {
			return err
		}
		over, err := c.enter(time.Now())
		if err == nil && !over && c.window == 0 {
			<-time.After(rand.N(longest))
		}
		next := c.leave()
		if err := errors.Join(err, h.Unlock(ctx)); err != nil || over {
			return err
		}
		if c.window > 0 {
			continue
		}
		// Who takes back its own lock would measure no hand-over.
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// enter notes a grant, and reports whether the contest is over.
func (c *contest) enter(now time.Time) (over bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		return true, errTwo
	}
	c.held = true
	close(c.next)
	c.next = make(chan struct{})
	if c.window > 0 {
		over = now.Sub(c.began) >= c.window
	} else {
		over = c.left <= 0
	}
	if !over && !c.released.IsZero() {
		c.handOver = append(c.handOver, millis(now.Sub(c.released)))
	}
	if !over {
		c.left--
		c.grants++
	}
	return over, nil
}

// leave notes that the lock is about to be released.
func (c *contest) leave() (next <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held, c.released = false, time.Now()
	return c.next
}

// contended begins a work that each library does with n contenders.
func contended(env *perf.Env, n int, others []Library, key string, round func(all []Locker, key string) roundFunc) ([]perf.Side, func() error, error) {
	libs, end := libraries(others...)
	var sides []perf.Side
	for _, l := range libs {
		var all []Locker
		for range n {
			lock, err := l.Join(env.Redis)
			if err != nil {
				return nil, end, err
			}
			all = append(all, lock)
		}
		sides = append(sides, perf.Side{Name: l.Name, Lacks: l.Lacks, Round: round(all, key+"/"+l.Name)})
	}
	return sides, end, nil
}

// rivals are those who wait for locks on the given servers.
func rivals(on perf.Servers) []Library {
	if on == perf.RedisOne {
		return []Library{Redsync(), Redislock()}
	}
	return []Library{Redsync()}
}
