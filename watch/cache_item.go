package watch

import (
	"fmt"
	"runtime/debug"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Item is what a [Cache] has for one key.
type Item[T any] struct {
	// Value is the decoded value. If Err is not nil, it is the last value that did decode
	// since the key was created, or T's zero value if none did.
	Value T
	// Err is a [*DecodeError] if the current value does not decode, otherwise nil.
	Err error
	// ModRevision is the revision of the last change of the key, whether or not its
	// value decodes.
	ModRevision int64
	// CreateRevision is the revision at which the key was created.
	CreateRevision int64
	// Version counts the changes since then: 1 for a key just created.
	Version int64
	// Lease is the lease the key is attached to, [clientv3.NoLease] if none.
	Lease clientv3.LeaseID
}

// DecodeError is the [Item.Err] of a key whose value does not decode.
type DecodeError struct {
	// Key is the key.
	Key string
	// Revision is the ModRevision of the value that does not decode.
	Revision int64
	// Good is the ModRevision of the value that is still readable, 0 if there is
	// none.
	Good int64
	// Err is what the decode function returned, or a [*PanicError].
	Err error
}

// Error names the key, the revision and the reason.
func (e *DecodeError) Error() string {
	return fmt.Sprintf("watch: value of %q at revision %d does not decode: %v", e.Key, e.Revision, e.Err)
}

// Unwrap returns what the decode function returned.
func (e *DecodeError) Unwrap() error { return e.Err }

// entry is an item and its key. It never changes once it is in a table, for snapshots
// and change logs share it. Of a deleted key it has version 0, the revision of the
// delete as ModRevision, and what the key was as the rest.
type entry[T any] struct {
	key string
	Item[T]
	// at numbers the changes a cache has seen, and born is the number of the creation of
	// the key. They are revisions, until these begin anew, see WithRebuild: then the numbers
	// go on growing.
	at, born int64
}

func (e *entry[T]) deleted() bool { return e.Version == 0 }

// buried returns e as a key that was deleted by the time of another entry.
func (e *entry[T]) buried(by *entry[T]) *entry[T] {
	dead := *e
	dead.ModRevision, dead.at, dead.Version = by.ModRevision, by.at, 0
	return &dead
}

// entryOf makes an entry of a put.
func (c *Cache[T]) entryOf(kv *mvccpb.KeyValue) *entry[T] {
	e := &entry[T]{key: string(kv.Key), Item: Item[T]{
		ModRevision: kv.ModRevision, CreateRevision: kv.CreateRevision,
		Version: kv.Version, Lease: clientv3.LeaseID(kv.Lease),
	}}
	value, err := c.decode(e.key, kv.Value)
	if err != nil {
		e.Err = &DecodeError{Key: e.key, Revision: kv.ModRevision, Err: err}
		c.log.Warn("watch: value does not decode", "key", e.key, "revision", e.ModRevision, "error", err)
		return e
	}
	e.Value = value
	return e
}

// decode calls the decode function and turns its panic into an error.
func (c *Cache[T]) decode(key string, encoded []byte) (value T, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return c.decoder(key, encoded)
}

// keep lets an entry that does not decode keep the value of the one before it, old,
// which may be nil. A value from before the key was deleted is not kept.
func (e *entry[T]) keep(old *entry[T]) {
	bad, ok := e.Err.(*DecodeError) //nolint:errorlint // made by decode, never wrapped
	if !ok || old == nil || old.born != e.born {
		return
	}
	e.Value, bad.Good = old.Value, old.ModRevision
	if last, ok := old.Err.(*DecodeError); ok { //nolint:errorlint // as above
		bad.Good = last.Good
	}
}
