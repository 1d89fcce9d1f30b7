//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// forwarded are the signals that are passed on to a command.
func forwarded() []os.Signal {
	return []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM}
}

// signalOrLine reads the name or number of a signal; whatever is none is a line for sh.
func signalOrLine(s string) (number int, line string) {
	name := strings.ToUpper(s)
	if n := unix.SignalNum(name); n != 0 {
		return int(n), ""
	}
	if n := unix.SignalNum("SIG" + name); n != 0 {
		return int(n), ""
	}
	if n, err := strconv.Atoi(s); err == nil && unix.SignalName(unix.Signal(n)) != "" {
		return n, ""
	}
	return 0, s
}

// shell is a line for sh.
func shell(ctx context.Context, line string) *exec.Cmd {
	return exec.CommandContext(ctx, "/bin/sh", "-c", line)
}

// wholeShell is a line for sh of which nothing is left when ctx has ended: neither sh nor what it has started. It does not
// belong to the terminal's foreground.
func wholeShell(ctx context.Context, line string) *exec.Cmd {
	cmd := shell(ctx, line)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		if errors.Is(err, unix.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	return cmd
}

// bury waits for what is left of a process group that was killed: of the orphans in it this process may be the parent.
func bury(group int) { reap(group, time.After(500*time.Millisecond)) }

// outlive waits for the orphans of a process group of which this process is the parent.
func outlive(group int) { reap(group, nil) }

// reap waits for those of a process group until there are none, or end. It looks again and again,
// more and more seldom, since a call that waits would take a thread.
func reap(group int, end <-chan time.Time) {
	const first, most = 10 * time.Millisecond, time.Second
	for pause := first; ; {
		switch pid, err := unix.Wait4(-group, nil, unix.WNOHANG, nil); {
		case pid > 0 || errors.Is(err, unix.EINTR):
			continue
		case err != nil: // there are none
			return
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, most)
		case <-end:
			return
		}
	}
}

// die ends this process as a signal does. It returns if that does not work.
func die(s syscall.Signal) {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // a core dump would be of the wrong program
	signal.Reset(s)
	if err := unix.Kill(unix.Getpid(), s); err == nil {
		<-time.After(time.Second)
	}
}

// pipe reports whether a file has another end, which can go away.
func pipe(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0
}

// closed is closed when nobody writes to a pipe any more. What is in it is not read: it may be the rest of the script that
// holds something.
func closed(file *os.File, done <-chan struct{}) <-chan struct{} {
	return await(file, peerClosed, done)
}

// hungUp is closed when nobody reads a pipe any more.
func hungUp(file *os.File, done <-chan struct{}) <-chan struct{} { return await(file, 0, done) }

// await returns what is closed when the other end of a pipe is gone, or one of the events has come; it looks now and then until
// done is closed.
func await(file *os.File, events int16, done <-chan struct{}) <-chan struct{} {
	const every = 200 // ms
	gone := make(chan struct{})
	go func() { // ends with done, or with the pipe
		fds := []unix.PollFd{{Fd: int32(file.Fd()), Events: events}}
		for {
			if n, err := unix.Poll(fds, every); err == nil && n > 0 {
				close(gone)
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	return gone
}
