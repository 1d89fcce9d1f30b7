//go:build unix

package main

import (
	"errors"
	"os"
	"syscall"
)

// canStop says that a process can be stopped and continued here.
const canStop = true

// stopProcess returns when the process has come to a stop. Until then nothing would
// wake it if the parent were killed, see workerAttributes.
func stopProcess(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(p.Pid, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err == nil && !status.Stopped():
			return errors.New("it has ended instead of stopping")
		default:
			return err
		}
	}
}

func resumeProcess(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

// workerAttributes gives a worker a process group of its own. Ctrl-C then reaches
// the parent only, which ends the workers in good order; and when the parent is
// killed the kernel wakes a stopped worker, with SIGHUP.
func workerAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
