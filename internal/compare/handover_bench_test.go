package compare_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/works/redislocks"
	"github.com/conclave-go/conclave/internal/redistest"
)

// BenchmarkHandover compares the time from the call of Unlock to the return of another
// contender's Lock. "times-faster" is the rival's as a multiple of Conclave's.
func BenchmarkHandover(b *testing.B) {
	for _, nodes := range []int{1, 5} {
		rivals := []rival{of(redislocks.Redsync())}
		if nodes == 1 {
			rivals = append(rivals, of(redislocks.Redislock()))
		}
		for _, contenders := range []int{2, 10} {
			b.Run(fmt.Sprintf("nodes=%d/contenders=%d", nodes, contenders), func(b *testing.B) {
				c := redistest.New(b, nodes)
				all := append([]rival{{"", conclave}}, rivals...)
				var fns []func() []time.Duration
				for i, r := range all {
					fns = append(fns, contests(b, c, r.join, contenders, fmt.Sprintf("job-%d", i)))
				}
				took := turns(b, fns...)
				for _, p := range []int{50, 90} {
					ours := percentile(took[0], p)
					b.ReportMetric(millis(ours), fmt.Sprintf("ms-p%d", p))
					for i, r := range all[1:] {
						theirs := percentile(took[i+1], p)
						b.ReportMetric(millis(theirs), fmt.Sprintf("ms-p%d-%s", p, r.name))
						b.ReportMetric(times(theirs, ours), fmt.Sprintf("times-faster-p%d-%s", p, r.name))
					}
				}
			})
		}
	}
}

// contests returns a function that lets n contenders pass the lock on a few times.
func contests(b *testing.B, c *redistest.Cluster, join joiner, n int, key string) func() []time.Duration {
	b.Helper()
	const handovers = 20
	var all []redislocks.Locker
	for range n {
		all = append(all, join(b, c))
	}
	return func() []time.Duration {
		x := &contest{left: handovers, next: make(chan struct{})}
		var wg sync.WaitGroup
		errs := make(chan error, n)
		for _, lock := range all {
			wg.Go(func() { errs <- x.contend(b.Context(), lock, key) })
		}
		wg.Wait()
		for range n {
			require.NoError(b, <-errs)
		}
		return x.took
	}
}

// contest is what contenders for one lock share; the lock protects it.
type contest struct {
	left     int
	released time.Time
	took     []time.Duration
	next     chan struct{} // closed by the next holder
}

// contend takes part until there have been enough hand-overs. Who has released the lock
// asks for it again when another has it: a process that takes back its own lock would
// measure no hand-over. Locks are held for a random time, as long as the rivals wait
// between two tries, so that a release falls anywhere between these.
func (c *contest) contend(ctx context.Context, lock redislocks.Locker, key string) error {
	const longest = 200 * time.Millisecond
	for {
		h, err := lock(ctx, key)
		if err != nil {
			return err
		}
		done := c.enter(time.Now())
		if done {
			return h.Unlock(ctx)
		}
		<-time.After(rand.N(longest))
		next := c.next
		c.released = time.Now()
		if err := h.Unlock(ctx); err != nil {
			return err
		}
		<-next
	}
}

// enter notes that the lock was granted, and reports whether that is enough.
func (c *contest) enter(now time.Time) (done bool) {
	close(c.next)
	c.next = make(chan struct{})
	if !c.released.IsZero() {
		c.took = append(c.took, now.Sub(c.released))
	}
	c.left--
	if c.left < 0 {
		c.released = time.Time{} // those who leave count no more
	}
	return c.left < 0
}
