package locks

import (
	"context"
	"time"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

// What tests take apart.
type (
	Contender = contender
	Release   = release
)

// ErrTwo is what a contest fails with that did not exclude.
var ErrTwo = errTwo

// LoadRate is how many writes a second are to be made.
const LoadRate = loadRate

// Channel is a lock in memory.
func Channel() Contender { return channel() }

// Contest lets the contenders contend for a lock that one may hold at a time.
func Contest(ctx context.Context, held, window time.Duration, queued func(context.Context) error, all []Contender) (perf.Samples, error) {
	c := contest{most: 1, held: held, window: window, queued: queued}
	return c.run(ctx, all)
}

// Pace sends what is due to be written.
func Pace(ctx context.Context, due chan<- int) { pace(ctx, due) }
