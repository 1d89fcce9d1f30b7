//go:build unix

package proctest

import (
	"errors"
	"syscall"
	"testing"
)

// Stop suspends the process, and returns when it is.
func (p *Process) Stop(tb testing.TB) {
	tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		tb.Fatalf("proctest: stopping: %v", err)
	}
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || !status.Stopped() {
			tb.Fatalf("proctest: stopping: %v, status %v", err, status)
		}
		return
	}
}

// Continue ends [Process.Stop].
func (p *Process) Continue(tb testing.TB) {
	tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		tb.Fatalf("proctest: continuing: %v", err)
	}
}
