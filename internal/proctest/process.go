package proctest

import (
	"strings"
	"testing"
	"time"

	"github.com/conclave-go/conclave/internal/process"
)

// guard is how long a process may take to say something.
const guard = 5 * time.Minute

// Process is this test binary in another role.
type Process struct {
	process *process.Process
	said    chan string // closed at its end
	detail  string      // of that
}

// Start starts this test binary in a role, which its TestMain plays. The process is
// killed at the test's end at the latest.
func Start(tb testing.TB, role string, args ...string) *Process {
	tb.Helper()
	p := &Process{said: make(chan string, lines)}
	var err error
	p.process, err = process.Start(role, role, args,
		func(line string) { offer(p.said, line) },
		func(detail string) {
			p.detail = detail
			close(p.said)
		})
	if err != nil {
		tb.Fatalf("proctest: starting a %s: %v", role, err)
	}
	tb.Cleanup(func() { p.Kill(tb) })
	return p
}

// Tell sends a line to the process.
func (p *Process) Tell(tb testing.TB, line string) {
	tb.Helper()
	if err := p.process.Send(line); err != nil {
		tb.Fatalf("proctest: telling %q: %v", line, err)
	}
}

// Says returns the next line that the process says, which has to begin with words.
func (p *Process) Says(tb testing.TB, words string) string {
	tb.Helper()
	timer := time.NewTimer(guard)
	defer timer.Stop()
	select {
	case line, more := <-p.said:
		if !more {
			tb.Fatalf("proctest: the process does not say %q any more: %s", words, p.detail)
		}
		if !strings.HasPrefix(line, words) {
			tb.Fatalf("proctest: the process says %q, not %q", line, words)
		}
		return line
	case <-timer.C:
		tb.Fatalf("proctest: the process does not say %q", words)
	}
	return ""
}

// Stop suspends the process, and returns when it is. Where that is not possible it skips
// the test.
func (p *Process) Stop(tb testing.TB) {
	tb.Helper()
	if !process.CanPause {
		tb.Skipf("SKIPPED %s: processes cannot be stopped on this system", tb.Name())
	}
	if err := p.process.Pause(tb.Context()); err != nil {
		tb.Fatalf("proctest: stopping: %v", err)
	}
}

// Continue ends [Process.Stop].
func (p *Process) Continue(tb testing.TB) {
	tb.Helper()
	if err := p.process.Resume(); err != nil {
		tb.Fatalf("proctest: continuing: %v", err)
	}
}

// Kill ends the process without a chance to do anything, and waits for its end.
func (p *Process) Kill(tb testing.TB) {
	tb.Helper()
	if err := p.process.Kill(); err != nil {
		tb.Fatalf("proctest: killing: %v", err)
	}
	p.process.Wait()
}
