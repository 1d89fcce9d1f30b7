// Package bubble runs tests in bubbles of testing/synctest.
package bubble

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/conclave-go/conclave/internal/race"
)

// Test is [synctest.Test]. Under the race detector the process has one processor as long as
// it has a bubble: on two, timers of a bubble that are due at one instant corrupt the race
// detector, which then crashes (https://go.dev/issue/78156).
func Test(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if race.Enabled {
		bubbles.begin()
		defer bubbles.end()
	}
	synctest.Test(t, f) //nolint:forbidigo // for those that call this
}

//nolint:gochecknoglobals // as the number of processors is
var bubbles count

// count is the number of bubbles of the process.
type count struct {
	mu         sync.Mutex
	n          int
	processors int // without bubbles
}

func (c *count) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n++; c.n == 1 {
		c.processors = runtime.GOMAXPROCS(1)
	}
}

func (c *count) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 {
		runtime.GOMAXPROCS(c.processors)
	}
}
