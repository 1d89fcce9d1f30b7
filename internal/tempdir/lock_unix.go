//go:build unix

package tempdir

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// canLock says that directories can be locked here.
const canLock = true

// How to lock: wait while another process has the directory, or return errInUse.
const (
	wait    = syscall.LOCK_EX
	tryOnly = syscall.LOCK_EX | syscall.LOCK_NB
)

// lockDir locks a directory until the file is closed.
func lockDir(path string, how int) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
	}
	return f, nil
}
