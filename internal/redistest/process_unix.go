//go:build unix

package redistest

import (
	"errors"
	"fmt"
	"syscall"
)

// stop returns when the process has stopped.
func (p *process) stop() error {
	process, err := p.running()
	if err != nil {
		return err
	}
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("redistest: stopping: %w", err)
	}
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(process.Pid, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("redistest: stopping: %w", err)
		case status.Stopped():
			return nil
		default:
			return fmt.Errorf("redistest: stopping: the node has ended")
		}
	}
}

func (p *process) resume() error {
	process, err := p.running()
	if err != nil {
		return err
	}
	if err := process.Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("redistest: continuing: %w", err)
	}
	return nil
}
