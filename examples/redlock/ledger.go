package main

import (
	"encoding/binary"
	"os"
)

// ledger is what the lock protects: a file with a number in it. Whoever has the lock
// reads the number and later writes it increased by one. There is no way in which the
// file could tell whose write comes too late.
type ledger struct{ file *os.File }

func openLedger(path string) (*ledger, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &ledger{f}, nil
}

// createLedger makes an empty one.
func createLedger(path string) error { return os.WriteFile(path, make([]byte, 8), 0o600) }

func (l *ledger) read() (uint64, error) {
	var b [8]byte
	_, err := l.file.ReadAt(b[:], 0)
	return binary.BigEndian.Uint64(b[:]), err
}

func (l *ledger) write(n uint64) error {
	_, err := l.file.WriteAt(binary.BigEndian.AppendUint64(nil, n), 0)
	return err
}

func (l *ledger) close() error { return l.file.Close() }

// readLedger returns the number in a ledger.
func readLedger(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil || len(b) < 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}
