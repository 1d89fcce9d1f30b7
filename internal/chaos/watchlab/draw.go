package watchlab

import (
	"math/rand/v2"
	"time"
)

// draw makes choices. What is drawn from a seed and a name depends on nothing else.
type draw struct{ *rand.Rand }

func newDraw(seed, name uint64) draw { return draw{rand.New(rand.NewPCG(seed, name))} }

// chance is true p times of a hundred.
func (d draw) chance(p int) bool { return d.IntN(100) < p }

// between returns a number from low to high, both included.
func (d draw) between(low, high int) int { return low + d.IntN(high-low+1) }

// ms returns a time from low to high milliseconds.
func (d draw) ms(low, high int) time.Duration {
	return time.Duration(d.between(low, high)) * time.Millisecond
}

func oneOf[T any](d draw, list ...T) T { return list[d.IntN(len(list))] }
