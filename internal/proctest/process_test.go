package proctest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/proctest"
	"github.com/conclave-go/conclave/internal/suite"
)

func TestMain(m *testing.M) {
	proctest.Play(proctest.Roles{"echo": echo, "fail": fail})
	goleak.VerifyTestMain(suite.Of(m))
}

// echo says its arguments, and then each line that it is told.
func echo(ctx context.Context, line *proctest.Line, args []string) error {
	line.Say(strings.Join(args, "|"))
	for {
		select {
		case words := <-line.Told():
			line.Say("told", words)
		case <-ctx.Done():
			return nil
		}
	}
}

// fail fails when it has said something.
func fail(_ context.Context, line *proctest.Line, _ []string) error {
	line.Say("so far")
	return errors.New("as it was told")
}

func TestAProcessPlaysItsRole(t *testing.T) {
	t.Parallel()
	p := proctest.Start(t, "echo", "a b", "", "c")
	require.Equal(t, "a b||c", p.Says(t, "a"))
	p.Tell(t, "hello")
	require.Equal(t, "told hello", p.Says(t, "told hell"))
}

func TestAStoppedProcessSaysNothingUntilItContinues(t *testing.T) {
	t.Parallel()
	p := proctest.Start(t, "echo")
	p.Says(t, "")
	p.Stop(t)
	p.Tell(t, "hello")
	said := make(chan struct{})
	go func() {
		defer close(said)
		p.Says(t, "told hello")
	}()
	select {
	case <-said:
		require.Fail(t, "a stopped process speaks")
	case <-time.After(100 * time.Millisecond): // it would have in one
	}
	p.Continue(t)
	<-said
}

func TestAKilledProcessIsGone(t *testing.T) {
	t.Parallel()
	p := proctest.Start(t, "echo")
	p.Says(t, "")
	p.Stop(t)
	p.Kill(t) // although it is stopped
	require.Contains(t, failure(t, func(tb testing.TB) { p.Says(tb, "more") }), `does not say "more" any more`)
	require.Contains(t, failure(t, func(tb testing.TB) { p.Tell(tb, "more") }), `telling "more"`)
}

func TestAFailureOfARoleIsTold(t *testing.T) {
	t.Parallel()
	p := proctest.Start(t, "fail")
	p.Says(t, "so far")
	require.Contains(t, failure(t, func(tb testing.TB) { p.Says(tb, "more") }), "fail ended: exit status 1 as it was told")
	unknown := proctest.Start(t, "unknown")
	require.Contains(t, failure(t, func(tb testing.TB) { unknown.Says(tb, "more") }), "no such role")
}

func TestOtherWordsFailTheTest(t *testing.T) {
	t.Parallel()
	p := proctest.Start(t, "echo", "a")
	require.Contains(t, failure(t, func(tb testing.TB) { p.Says(tb, "b") }), `says "a", not "b"`)
}

// failing is a test that fails.
type failing struct {
	testing.TB

	message string
}

// Fatalf ends the goroutine, as that of a test does.
func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failure returns what a test fails with.
func failure(t *testing.T, test func(testing.TB)) string {
	t.Helper()
	f := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(f)
	}()
	<-done
	return f.message
}
