package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/queue"
)

// Entry is one acquisition in a lock's queue, as [Inspect] found it.
type Entry struct {
	// Key is its key in etcd.
	Key string
	// Owner is what it calls itself, see [WithOwner]; empty for entries of other
	// libraries.
	Owner string
	// Token is the fencing token that it has, or will have once granted.
	Token Token
	// Since is when it began to wait, by its own clock; zero for entries of other
	// libraries.
	Since time.Time
	// Lease is the lease its key is attached to. When that ends, so does the entry.
	Lease clientv3.LeaseID
	// Position is the number of entries before it: 0 has the lock.
	Position int
}

// Held reports whether the entry owned the lock when it was read.
func (e Entry) Held() bool { return e.Position == 0 }

// InspectOption configures [Inspect].
type InspectOption interface{ applyInspect(*config) error }

// Inspect returns the queue of the lock: the holder first, then those who wait, in
// the order in which they will be granted. It is one linearizable read; by the time
// it returns, things may have changed. A lock that nobody uses has no entries.
func Inspect(ctx context.Context, client *clientv3.Client, name string, opts ...InspectOption) ([]Entry, error) {
	if client == nil {
		return nil, errors.New("lock: client is nil: must be a connected *clientv3.Client")
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	var c config
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("lock: inspect option is nil: must come from one of the With functions")
		}
		if err := o.applyInspect(&c); err != nil {
			return nil, err
		}
	}
	occupants, err := queue.Read(ctx, client, c.prefix(name))
	if err != nil {
		return nil, fmt.Errorf("lock: inspecting %q: %w", name, err)
	}
	entries := make([]Entry, len(occupants))
	for i, o := range occupants {
		entries[i] = Entry{
			Key: o.Key, Owner: o.Record.Owner, Token: newToken(o.CreateRevision),
			Since: o.Record.Since, Lease: o.Lease, Position: i,
		}
	}
	return entries, nil
}
