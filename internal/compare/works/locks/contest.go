package locks

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

var (
	// errTwo means that a lock did not exclude.
	errTwo = errors.New("granted to more than may hold it at a time")
	// errHangs means that a contest did not end.
	errHangs = errors.New("the contest hangs")
)

// contestTimeout bounds a contest, which takes a few seconds.
const contestTimeout = 2 * time.Minute

// contest is a time for which contenders take and release one lock as fast as they can.
type contest struct {
	// most is how many may hold it at a time, 0 for any number.
	most int
	// held is for how long each holder keeps it.
	held time.Duration
	// window is for how long grants are counted.
	window time.Duration
	// queued returns when all contenders but the first wait; nil if the contest
	// need not begin so.
	queued func(context.Context) error

	mu       sync.Mutex
	holders  int
	counts   bool
	over     bool
	grants   int
	last     int // who released it last, at released; nobody yet if that is zero
	released time.Time
	handOver []float64
}

// run lets the contenders contend. Nobody's Lock is cancelled at the end: whoever waits is
// granted once more, which is not counted, so that nothing is left to be cleaned up.
func (c *contest) run(ctx context.Context, all []contender) (perf.Samples, error) {
	ctx, expire := context.WithTimeoutCause(ctx, contestTimeout, errHangs)
	defer expire()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	join := func(who int) {
		wg.Go(func() {
			if err := c.visits(ctx, who, all[who]); err != nil {
				cancel(err)
			}
		})
	}
	took, err := c.hold(ctx, all, join)
	if err != nil {
		cancel(err)
	}
	c.set(&c.over)
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return perf.Samples{
		throughput().Name: {float64(c.grants) / took.Seconds()},
		handOver().Name:   c.handOver,
	}, nil
}

// hold opens the contest, and returns at its end how long it took.
func (c *contest) hold(ctx context.Context, all []contender, join func(who int)) (time.Duration, error) {
	leave := func(context.Context) error { return nil }
	if c.queued != nil {
		var err error
		if leave, err = all[0](ctx); err != nil {
			return 0, err
		}
		if err := c.granted(0); err != nil {
			return 0, err
		}
	}
	for who := 1; who < len(all); who++ {
		join(who)
	}
	if c.queued != nil {
		if err := c.queued(ctx); err != nil {
			return 0, errors.Join(err, leave(context.WithoutCancel(ctx)))
		}
		c.leaving(0)
	}
	began := time.Now()
	c.set(&c.counts)
	if err := leave(ctx); err != nil {
		return 0, err
	}
	join(0)
	select {
	case <-time.After(c.window):
	case <-ctx.Done():
	}
	return time.Since(began), nil
}

// visits takes and releases the lock until the contest is over.
func (c *contest) visits(ctx context.Context, who int, take contender) error {
	for !c.isOver() {
		leave, err := take(ctx)
		if err != nil {
			return err
		}
		if err := c.granted(who); err != nil {
			return err
		}
		if c.held > 0 {
			<-time.After(c.held)
		}
		c.leaving(who)
		if err := leave(ctx); err != nil {
			return err
		}
	}
	return nil
}

// granted notes that who has the lock.
func (c *contest) granted(who int) error {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holders++
	if c.most > 0 && c.holders > c.most {
		return errTwo
	}
	if !c.counts || c.over {
		return nil
	}
	c.grants++
	if c.most == 1 && who != c.last && !c.released.IsZero() {
		c.handOver = append(c.handOver, float64(now.Sub(c.released))/float64(time.Millisecond))
	}
	return nil
}

// leaving notes that who is about to release the lock.
func (c *contest) leaving(who int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holders--
	c.last, c.released = who, time.Now()
}

func (c *contest) set(flag *bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*flag = true
}

func (c *contest) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}
