package workers

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// awaitStop returns when a process that was sent SIGSTOP has come to a stop. Until then
// nothing would wake it if its parent were killed, see attributes.
func awaitStop(p *os.Process) error {
	for {
		// Without WEXITED the process is left to the one who waits for its end.
		err := unix.Waitid(unix.P_PID, p.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
