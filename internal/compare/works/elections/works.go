package elections

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/conclave-go/conclave/internal/compare/leaderelection"
	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/pairs"
)

const (
	// ttl is for all; client-go calls it lease duration.
	ttl = leaderelection.LeaseDuration
	// expiryTick is how often etcd looks for leases that have expired.
	expiryTick = 500 * time.Millisecond
	// cleanUp bounds what is done when a round is over.
	cleanUp = 10 * time.Second
)

// Works returns the works.
func Works() []perf.Work { return []perf.Work{graceful(), crash(), observe()} }

// graceful lets leaders resign one after the other over two retry periods of client-go's,
// whose time is the wait for its next try.
func graceful() perf.Work {
	return perf.Work{
		Name:    "election/graceful",
		Title:   "from a leader's resignation to the next one's election",
		On:      perf.EtcdFast,
		Metrics: []perf.Metric{{Name: "hand-over", Unit: "ms", Stats: []perf.Stat{perf.P50, perf.P90}}},
		Rounds:  8, Quick: 1,
		Begin: succession{
			pairs: 16, quick: 16, // a round of fewer takes as long
			fail: func(ctx context.Context, p *pair, _ pairs.Seat, i, n int) (time.Time, error) {
				if err := pairs.Pause(ctx, pairs.Spread(2*leaderelection.RetryPeriod, i, n)); err != nil {
					return time.Time{}, err
				}
				start := time.Now()
				return start, p.resign(ctx)
			},
			samples: func(took []time.Duration) perf.Samples {
				return perf.Samples{"hand-over": each(took, pairs.Millis)}
			},
		}.begin,
	}
}

// crash cuts leaders off at moments spread over a renewal period.
func crash() perf.Work {
	return perf.Work{
		Name:  "election/crash",
		Title: "from the loss of a leader's network to the next one's election, with a TTL of 3 s",
		On:    perf.EtcdFast,
		Metrics: []perf.Metric{
			{Name: "fail-over", Unit: "ms", Stats: []perf.Stat{perf.P50, perf.P90}},
			{Name: "fail-over by TTL", Unit: "TTL", Stats: []perf.Stat{perf.P50, perf.P90}},
		},
		Rounds: 3,
		Begin: succession{
			pairs: 12, quick: 3,
			fail: func(ctx context.Context, _ *pair, s pairs.Seat, i, n int) (time.Time, error) {
				err := pairs.Pause(ctx, ttl/3+pairs.Spread(ttl/3, i, n))
				s.Cut()
				return time.Now(), err
			},
			samples: func(took []time.Duration) perf.Samples {
				inTTLs := func(d time.Duration) float64 { return float64(d) / float64(ttl) }
				return perf.Samples{"fail-over": each(took, pairs.Millis), "fail-over by TTL": each(took, inTTLs)}
			},
		}.begin,
	}
}

// succession is a work in which leaders end, each in its own way, and others follow.
type succession struct {
	// pairs is how many are elected at once, so that a round that waits for timers gives
	// several samples; quick is the same for a quick run.
	pairs, quick int
	// fail ends the leader of pair i of n, some time after the election, and says when.
	fail func(ctx context.Context, p *pair, s pairs.Seat, i, n int) (time.Time, error)
	// samples makes the samples of a round.
	samples func(took []time.Duration) perf.Samples
}

func (s succession) begin(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
	n := s.pairs
	if on.Quick {
		n = s.quick
	}
	run := rand.Uint32()
	var sides []perf.Side
	for _, l := range libraries() {
		seats, err := pairs.Seats(ctx, on, n)
		if err != nil {
			return nil, nil, err
		}
		rounds := 0
		sides = append(sides, perf.Side{Name: l.name, Lacks: l.lacks, Round: func(ctx context.Context) (perf.Samples, error) {
			rounds++
			took, err := s.round(ctx, l, seats, fmt.Sprintf("elections-%08x-%s-%d", run, l.name, rounds))
			return s.samples(took), err
		}})
	}
	return sides, func() error { return nil }, nil
}

// round elects a pair in each of the seats and measures how soon after the first one's
// end the second is elected.
func (s succession) round(ctx context.Context, l library, seats []pairs.Seat, name string) ([]time.Duration, error) {
	took := make([]time.Duration, len(seats))
	err := pairs.Each(ctx, seats, func(ctx context.Context, i int, seat pairs.Seat) (err error) {
		if err := pairs.Pause(ctx, rand.N(expiryTick)); err != nil {
			return err
		}
		took[i], err = s.follow(ctx, l, seat, fmt.Sprintf("%s-%d", name, i), i, len(seats))
		return err
	})
	return took, err
}

// follow measures one pair.
func (s succession) follow(ctx context.Context, l library, seat pairs.Seat, name string, i, n int) (took time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	p := newPair()
	defer func() {
		seat.Mend()
		cancel()
		err = errors.Join(err, p.end(ctx))
	}()
	if err := l.elect(ctx, p, seat, name); err != nil {
		return 0, err
	}
	start, err := s.fail(ctx, p, seat, i, n)
	if err != nil {
		return 0, err
	}
	at, err := p.wait(ctx)
	return at.Sub(start), err
}

// each applies a function to each.
func each(all []time.Duration, number func(time.Duration) float64) []float64 {
	var numbers []float64
	for _, d := range all {
		numbers = append(numbers, number(d))
	}
	return numbers
}
