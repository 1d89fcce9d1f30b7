//go:build unix

package main

import (
	"os"
	"syscall"
)

// canPause says that a process can be stopped and continued here.
const canPause = true

func pauseProcess(p *os.Process) error  { return p.Signal(syscall.SIGSTOP) }
func resumeProcess(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

// workerAttributes gives a worker a process group of its own. Ctrl-C then reaches
// the parent only, which ends the workers in good order; and when the parent is
// killed the kernel wakes a stopped worker, with SIGHUP.
func workerAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
