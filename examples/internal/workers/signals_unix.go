//go:build unix

package workers

import (
	"os"
	"syscall"
)

// CanPause says that a process can be stopped and continued here.
const CanPause = true

func pause(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return awaitStop(p)
}

func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

// attributes gives a worker a process group of its own. Ctrl-C then reaches the
// parent only, which ends the workers in good order; and when the parent is killed
// the kernel wakes a stopped worker, with SIGHUP.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
