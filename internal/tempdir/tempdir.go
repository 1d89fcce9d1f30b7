// Package tempdir makes temporary directories that do not outlive their process for long.
// What a process leaves behind, because it was killed or has panicked, is removed by the
// next process that makes a directory in the same place.
//
// A process that uses a directory holds a lock of the operating system on it. Such a lock ends with
// its process, however that ends, and is seen from other containers that share the file system;
// neither is true of a process id in a file. Where there are no such locks, as on Windows, what a
// killed process leaves stays.
package tempdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// prefix is what the names of all these directories begin with, and of nothing else.
const prefix = "conclave-tmp-"

// attempts is how often a directory is made again when another process takes it for one that is
// left, between its making and its lock.
const attempts = 100

// errInUse is of a directory that a living process has.
var errInUse = errors.New("in use")

// swept are the places that this process has swept.
//
//nolint:gochecknoglobals // once for the process
var swept sync.Map

// Dir is a directory of this process. [Make] makes one.
type Dir struct {
	path string
	lock *os.File // nil where there are no locks
}

// Make makes a directory in [os.TempDir] that has purpose in its name. The first call of a process
// also removes those that dead processes have left there.
func Make(purpose string) (*Dir, error) { return MakeIn(os.TempDir(), purpose) }

// MakeIn is [Make] in another place.
func MakeIn(parent, purpose string) (*Dir, error) {
	if _, done := swept.LoadOrStore(parent, true); !done {
		sweep(parent)
	}
	for range attempts {
		path, err := os.MkdirTemp(parent, prefix+purpose+"-")
		if err != nil {
			return nil, fmt.Errorf("tempdir: %w", err)
		}
		lock, err := hold(path)
		if err == nil {
			return &Dir{path: path, lock: lock}, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, errors.Join(fmt.Errorf("tempdir: %w", err), os.RemoveAll(path))
		}
	}
	return nil, fmt.Errorf("tempdir: others remove what is made in %s", parent)
}

// Path returns where it is.
func (d *Dir) Path() string { return d.path }

// Remove removes the directory with all that is in it. It is idempotent.
func (d *Dir) Remove() error {
	err := os.RemoveAll(d.path)
	if d.lock != nil {
		_ = d.lock.Close() // the second time it is closed
	}
	if err != nil {
		return fmt.Errorf("tempdir: %w", err)
	}
	return nil
}

// hold locks a directory that was just made. The error is [os.ErrNotExist] if another process has
// come in between, and removed it.
func hold(path string) (*os.File, error) {
	if !canLock {
		return nil, nil //nolint:nilnil // there is none
	}
	lock, err := lockDir(path, wait)
	if err != nil {
		return nil, err
	}
	if !same(lock, path) {
		return nil, errors.Join(os.ErrNotExist, lock.Close())
	}
	return lock, nil
}

// same reports whether path still leads to what was opened.
func same(opened *os.File, path string) bool {
	a, err := opened.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// sweep removes what dead processes have left in parent. What belongs to another user stays.
func sweep(parent string) {
	if !canLock {
		return
	}
	left, _ := filepath.Glob(filepath.Join(parent, prefix+"*")) // the pattern is good unless parent is odd
	for _, path := range left {
		lock, err := lockDir(path, tryOnly)
		if err != nil {
			continue // in use, gone, or not ours
		}
		_ = os.RemoveAll(path)
		_ = lock.Close()
	}
}
