package peertest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// Guard is how long a test waits for what must happen; only a failure takes that long.
	Guard = 5 * time.Minute
	// poll is how often a test looks for what it is not told about.
	poll = 5 * time.Millisecond
)

// Guarded is the test's context with a limit.
func Guarded(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), Guard)
	tb.Cleanup(cancel)
	return ctx
}

// Await receives from ch, or fails the test.
func Await[T any](tb testing.TB, ch <-chan T, what string) T {
	tb.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(Guard):
		require.FailNow(tb, "never happened", what)
		panic("unreachable")
	}
}

// Eventually waits until ok.
func Eventually(tb testing.TB, ok func() bool, msg string, args ...any) {
	tb.Helper()
	require.Eventuallyf(tb, ok, Guard, poll, msg, args...)
}
