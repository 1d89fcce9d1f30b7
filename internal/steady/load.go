package main

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/conclave-go/conclave/internal/tempdir"
)

// chunk is what is written and synced at a time; the file begins anew at limit.
const (
	chunk = 1 << 20
	limit = 64 << 20
)

// load is what competes with the tests for processors and disk.
type load struct {
	over   atomic.Bool
	dir    *tempdir.Dir
	file   *os.File
	inside sync.WaitGroup
}

func startLoad(loops int) (*load, error) {
	dir, err := tempdir.Make("steady")
	if err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(dir.Path(), "load"))
	if err != nil {
		return nil, err
	}
	l := &load{dir: dir, file: file}
	for range loops {
		l.inside.Go(l.spin)
	}
	l.inside.Go(l.write)
	return l, nil
}

// spin does nothing, as fast as it can.
func (l *load) spin() {
	for !l.over.Load() {
	}
}

// write writes and waits for the disk. A full disk is not its business.
func (l *load) write() {
	data := make([]byte, chunk)
	for at := int64(0); !l.over.Load(); at = (at + chunk) % limit {
		_, _ = l.file.WriteAt(data, at)
		_ = l.file.Sync()
	}
}

func (l *load) end() error {
	l.over.Store(true)
	l.inside.Wait()
	_ = l.file.Close() // it goes
	return l.dir.Remove()
}
