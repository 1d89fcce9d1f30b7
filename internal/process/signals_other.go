//go:build !unix

package process

import (
	"errors"
	"os"
	"syscall"
)

// CanPause says that a process can be stopped and continued here.
const CanPause = false

func pause(*os.Process) error  { return errors.ErrUnsupported }
func resume(*os.Process) error { return nil }

// terminate ends the input, for want of a SIGTERM.
func terminate(p *Process) error { return p.in.Close() }

// wasKilled reports whether the process ended with the status of one that was killed.
func wasKilled(state *os.ProcessState) bool { return state.ExitCode() == 1 }

func attributes() *syscall.SysProcAttr { return nil }
