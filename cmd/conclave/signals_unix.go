//go:build unix

package main

import (
	"context"
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
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	return cmd
}

// runLine runs a line with sh, until ctx ends.
func runLine(ctx context.Context, line string, env []string) error {
	cmd := wholeShell(ctx, line)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, os.Stderr, os.Stderr
	return cmd.Run()
}

// die ends this process as a signal does. It returns if that does not work.
func die(s syscall.Signal) {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // a core dump would be of the wrong program
	signal.Reset(s)
	if err := unix.Kill(unix.Getpid(), s); err == nil {
		<-time.After(time.Second)
	}
}

// inherited reports whether a file descriptor was open when the program began: its own ones are closed on exec.
func inherited(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}

// pipe reports whether a file has another end, which can go away.
func pipe(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0
}

// hungUp is closed when nobody reads a pipe any more; it looks now and then until done is closed.
func hungUp(file *os.File, done <-chan struct{}) <-chan struct{} {
	const every = 200 // ms
	gone := make(chan struct{})
	go func() { // ends with done, or with the pipe
		fds := []unix.PollFd{{Fd: int32(file.Fd())}}
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
