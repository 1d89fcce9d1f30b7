//go:build unix

package program

import (
	"os"
	"syscall"
)

func terminations() []os.Signal {
	return []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
}

func brokenPipe() []os.Signal { return []os.Signal{syscall.SIGPIPE} }
