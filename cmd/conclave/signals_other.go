//go:build !unix

package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"syscall"
)

func forwarded() []os.Signal { return []os.Signal{os.Interrupt} }

func signalOrLine(s string) (number int, line string) {
	switch s {
	case "SIGTERM", "TERM":
		return int(syscall.SIGTERM), ""
	case "SIGKILL", "KILL":
		return int(syscall.SIGKILL), ""
	default:
		return 0, s
	}
}

func shell(ctx context.Context, line string) *exec.Cmd {
	return exec.CommandContext(ctx, "cmd", "/c", line)
}

func wholeShell(ctx context.Context, line string) *exec.Cmd { return shell(ctx, line) }

// bury has nothing to do: there are no zombies.
func bury(int) {}

func outlive(int) {}

func die(syscall.Signal) {}

func pipe(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeNamedPipe != 0
}

// closed is closed at the end of the input, which is read for that: nothing else tells.
func closed(file *os.File, _ <-chan struct{}) <-chan struct{} {
	end := make(chan struct{})
	go func() { // ends with the input, or with the process
		defer close(end)
		_, _ = io.Copy(io.Discard, file)
	}()
	return end
}

func hungUp(*os.File, <-chan struct{}) <-chan struct{} { return nil }
