//go:build !unix

package main

import (
	"context"
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

func die(syscall.Signal) {}

func pipe(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeNamedPipe != 0
}

func hungUp(*os.File, <-chan struct{}) <-chan struct{} { return nil }
