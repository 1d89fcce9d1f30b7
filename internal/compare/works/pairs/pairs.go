// Package pairs has what works need in which one client comes after another: pairs of
// clients, the first of which can be cut off, and moments that are spread evenly.
package pairs

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

// poll is how often is asked who waits.
const poll = 2 * time.Millisecond

// Seat is two clients with connections of their own, as two processes have.
type Seat struct {
	First, Second *clientv3.Client
	// Cut cuts the first one's network, Mend ends that.
	Cut, Mend func()
}

// Seats returns n seats.
func Seats(ctx context.Context, on *perf.Env, n int) ([]Seat, error) {
	seats := make([]Seat, n)
	for i := range seats {
		var err error
		s := &seats[i]
		if s.First, s.Cut, s.Mend, err = on.Partitioned(ctx); err != nil {
			return nil, err
		}
		if s.Second, err = on.Client(ctx); err != nil {
			return nil, err
		}
	}
	return seats, nil
}

// Each calls do with each of the seats at once and returns when all have returned. The
// context ends as soon as one has failed.
func Each(ctx context.Context, seats []Seat, do func(ctx context.Context, i int, s Seat) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(seats))
	for i, s := range seats {
		wg.Go(func() {
			if errs[i] = do(ctx, i, s); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Queued waits until two keys are below the name, in the order of which those who use
// them come.
func Queued(ctx context.Context, client *clientv3.Client, name string) error {
	for {
		resp, err := client.Get(ctx, name+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil || resp.Count == 2 {
			return err
		}
		if err := Pause(ctx, poll); err != nil {
			return err
		}
	}
}

// Pause waits.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Spread returns a random moment in the part i of n equal ones: what is done at these
// moments is neither in step nor at once.
func Spread(over time.Duration, i, n int) time.Duration {
	part := over / time.Duration(n)
	return part*time.Duration(i) + rand.N(part)
}

// Millis returns d in milliseconds.
func Millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
