package lock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/queue"
)

// Mode is how an acquisition holds a lock, or will.
type Mode string

// The modes of [Mutex] and [Multi], of [RWMutex], and of [Semaphore].
const (
	ModeMutex     Mode = "mutex"
	ModeWrite     Mode = "write"
	ModeRead      Mode = "read"
	ModeSemaphore Mode = "semaphore"
)

// Entry is one acquisition in a lock's queue, as [Inspect] found it.
type Entry struct {
	// Mode is the kind of lock it belongs to: each kind of a name has its own queue.
	Mode Mode
	// Key is its key in etcd.
	Key string
	// Owner is what it calls itself, see [WithOwner]; empty for entries of other
	// libraries.
	Owner string
	// Token is the token that it has, or will have once granted, not counting hand-offs
	// within its process.
	Token Token
	// Since is when it began to wait, by its own clock; zero for entries of other
	// libraries.
	Since time.Time
	// Lease is the lease its key is attached to. When that ends, so does the entry.
	Lease clientv3.LeaseID
	// TTL is how long the lease lasts unless it is renewed, in whole seconds; zero
	// if it has ended.
	TTL time.Duration
	// Weight is the number of permits of a semaphore that it takes, Permits how many
	// there are; both are zero for other modes.
	Weight, Permits int
	// Position is 0 if it holds the lock, 1 if it is the first to wait, and so on.
	Position int
}

// Held reports whether the entry had the lock when it was read.
func (e Entry) Held() bool { return e.Position == 0 }

// InspectOption configures [Inspect].
type InspectOption interface{ applyInspect(*config) error }

// Inspect returns the entries of all locks of the name: for each kind the holders first,
// then those who wait, in the order in which they came. It takes one linearizable read, and
// one request for each lease to learn its TTL; by the time it returns, things may have
// changed. A request without an answer is repeated until ctx ends, alongside the first, so
// that a vanished member does not keep it from the others. A lock that nobody uses has no
// entries. With [WithEtcdLayout] it returns those of a mutex in that layout.
func Inspect(ctx context.Context, client *clientv3.Client, name string, opts ...InspectOption) ([]Entry, error) {
	if client == nil {
		return nil, errors.New("lock: client is nil: must be a connected *clientv3.Client")
	}
	if err := checkContext(ctx); err != nil {
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
	if err := c.checkName(name); err != nil {
		return nil, err
	}
	entries, err := inspect(ctx, client, name, c)
	if err == nil {
		err = lookUpTTLs(ctx, client, entries)
	}
	if err != nil {
		return nil, fmt.Errorf("lock: inspecting %q: %w", name, err)
	}
	return entries, nil
}

// inspect reads the queues of a name.
func inspect(ctx context.Context, client *clientv3.Client, name string, c config) ([]Entry, error) {
	if c.layout {
		all, _, err := queue.Read(ctx, client, c.prefix(name))
		return exclusive(all), err
	}
	all, _, err := queue.Read(ctx, client, queue.All(name))
	if err != nil {
		return nil, err
	}
	kinds := map[string][]queue.Occupant{}
	for _, o := range all {
		kind := queue.KindOf(name, o.Key)
		kinds[kind] = append(kinds[kind], o)
	}
	entries := exclusive(kinds[kindMutex])
	entries = append(entries, readersWriters(name, kinds[kindRW])...)
	return append(entries, weighted(kinds[kindSemaphore])...), nil
}

// newEntry returns what is the same for all modes.
func newEntry(mode Mode, o queue.Occupant) Entry {
	return Entry{
		Mode: mode, Key: o.Key, Owner: o.Record.Owner, Token: newToken(o.CreateRevision),
		Since: o.Record.Since, Lease: o.Lease,
	}
}

// exclusive returns the entries of a mutex: the oldest holds it.
func exclusive(all []queue.Occupant) []Entry {
	entries := make([]Entry, len(all))
	for i, o := range all {
		entries[i] = newEntry(ModeMutex, o)
		entries[i].Position = i
	}
	return entries
}

// readersWriters returns the entries of a readers-writer lock: a writer holds it if it
// is the oldest, a reader if no writer is older. A writer put again has become a reader.
func readersWriters(name string, all []queue.Occupant) []Entry {
	var holders, waiters []Entry
	closed := false
	for i, o := range all {
		e := newEntry(ModeRead, o)
		if queue.IsWriter(queue.Prefix(name, kindRW), o.Key) && o.Version == 1 {
			e.Mode = ModeWrite
			closed = closed || i > 0
		}
		if !closed {
			holders = append(holders, e)
		} else {
			waiters = append(waiters, e)
		}
		closed = closed || e.Mode == ModeWrite
	}
	return ranked(holders, waiters)
}

// weighted returns the entries of a semaphore: the oldest hold it, as many as fit.
func weighted(all []queue.Occupant) []Entry {
	var holders, waiters []Entry
	sum := 0
	for _, o := range all {
		e := newEntry(ModeSemaphore, o)
		e.Weight, e.Permits = queue.Weight(o.Key)
		if sum += e.Weight; sum <= e.Permits {
			holders = append(holders, e)
		} else {
			waiters = append(waiters, e)
		}
	}
	return ranked(holders, waiters)
}

// ranked numbers those who wait.
func ranked(holders, waiters []Entry) []Entry {
	for i := range waiters {
		waiters[i].Position = i + 1
	}
	return append(holders, waiters...)
}

// ttlRequests is how many TTLs are asked for at a time.
const ttlRequests = 16

// lookUpTTLs sets the TTL of every entry, asking once for each lease.
func lookUpTTLs(ctx context.Context, client *clientv3.Client, entries []Entry) error {
	byLease := map[clientv3.LeaseID]*time.Duration{}
	for i := range entries {
		if entries[i].Lease != 0 {
			byLease[entries[i].Lease] = new(time.Duration)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	turn := make(chan struct{}, ttlRequests)
	var wg sync.WaitGroup
	for id, ttl := range byLease {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			left, err := queue.TTL(ctx, client, id)
			if err != nil {
				cancel(fmt.Errorf("asking for the TTL of lease %x: %w", int64(id), err))
				return
			}
			*ttl = left
		})
	}
	wg.Wait()
	for i := range entries {
		if ttl := byLease[entries[i].Lease]; ttl != nil {
			entries[i].TTL = *ttl
		}
	}
	return context.Cause(ctx)
}
