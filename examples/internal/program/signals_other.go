//go:build !unix

package program

import "os"

func terminations() []os.Signal { return []os.Signal{os.Interrupt} }

func brokenPipe() []os.Signal { return nil }
