//go:build !unix

package guard

import "os"

// Main is of no use here.
func Main([]string) int { return 1 }

// Run returns ErrUnsupported.
func Run(Command, Lease, <-chan struct{}, <-chan os.Signal) (Result, error) {
	return Result{}, ErrUnsupported
}

// Inherited cannot know.
func Inherited(int) bool { return true }
