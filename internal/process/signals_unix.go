//go:build unix

package process

import (
	"os"
	"syscall"
)

// CanPause says that a process can be stopped and continued here.
const CanPause = true

func pause(p *os.Process) error  { return p.Signal(syscall.SIGSTOP) }
func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

func terminate(p *Process) error { return p.cmd.Process.Signal(syscall.SIGTERM) }

// wasKilled reports whether the process ended by SIGKILL.
func wasKilled(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// attributes gives a child a process group of its own. Ctrl-C then reaches the parent
// only; and when the parent is killed the kernel wakes a stopped child, with SIGHUP.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
