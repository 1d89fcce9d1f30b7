// Package smallwal makes the write-ahead logs of the etcd servers in this process small, for
// tests and examples that start many. By default a server allocates two files of 64 MB before
// it serves, of which most use a few kB. Importing the package is enough; it is
// done before any server can be running.
package smallwal

import "go.etcd.io/etcd/server/v3/storage/wal"

const (
	// segment is what a server allocates twice. A log that grows beyond it goes on in another
	// file.
	segment = 1 << 20
	// production is etcd's own.
	production = 64 * 1000 * 1000
)

var _ = set(segment)

func set(bytes int64) struct{} {
	wal.SegmentSizeBytes = bytes
	return struct{}{}
}

// Undo gives servers the logs of production again. No server may be running.
func Undo() { set(production) }
