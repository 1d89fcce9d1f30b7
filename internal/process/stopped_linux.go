package process

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// stopped reports whether a child has come to a stop, with all its threads.
func stopped(p *os.Process) (bool, error) {
	var info unix.Siginfo
	// Without WEXITED, and with WNOWAIT, the child is left to the one who waits for its end.
	err := unix.Waitid(unix.P_PID, p.Pid, &info, unix.WSTOPPED|unix.WNOWAIT|unix.WNOHANG, nil)
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return err == nil && info.Signo != 0, os.NewSyscallError("waitid", err)
}
