package concurrency

import (
	"cmp"
	"context"
	"errors"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

var (
	// ErrLocked is returned by TryLock when another session has the mutex.
	ErrLocked = errors.New("concurrency: mutex is locked by another session")
	// ErrSessionExpired is returned when the session has ended: its lease was lost,
	// closed or orphaned.
	ErrSessionExpired = errors.New("concurrency: session has expired")
	// ErrLockReleased is returned by Unlock when the mutex is not locked, or its key was
	// deleted by somebody else.
	ErrLockReleased = errors.New("concurrency: lock has already been released")
)

// Mutex is a lock that one session has at a time. Use [NewMutex].
type Mutex struct {
	session *Session
	prefix  string
	inner   *lock.Mutex
	broken  error // why there is no inner

	mu     sync.Mutex
	hold   *lock.Hold
	header *pb.ResponseHeader
	// removed is the hold whose key was removed after the end of the session, or may have been.
	removed *lock.Hold
}

// NewMutex returns a mutex whose keys begin with pfx and a slash, whatever bytes pfx has.
// It has no error to return: a session that is nil or zero is refused by the methods.
func NewMutex(s *Session, pfx string) *Mutex {
	m := &Mutex{session: s, prefix: pfx + "/"}
	if m.broken = s.check(); m.broken == nil {
		m.inner, m.broken = lock.NewMutex(s.inner, pfx, lock.WithEtcdLayout())
	}
	return m
}

// Lock waits until the session has the mutex; if it has it already, which the server is
// asked, it returns at once, unless [WithStrict]. When ctx ends it returns ctx's error, and when the session does
// [ErrSessionExpired]: nothing is held then, and what was written is removed.
//
// It returns no context that ends when the lock is lost: watch [Session.Done], which does
// not report when an operator deletes the key.
func (m *Mutex) Lock(ctx context.Context) error { return m.take(ctx, m.wait) }

// TryLock takes the mutex if nobody has it or waits for it, or the session has it already,
// and else returns [ErrLocked] without having written anything.
func (m *Mutex) TryLock(ctx context.Context) error { return m.take(ctx, m.try) }

// take takes the mutex with how.
func (m *Mutex) take(ctx context.Context, how func(context.Context) (*lock.Hold, error)) error {
	if err := m.check(ctx); err != nil {
		return err
	}
	h, err := acquire(ctx, m.session, how)
	switch {
	case errors.Is(err, lock.ErrLocked):
		return ErrLocked
	case err != nil:
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hold, m.header = h, header(h.Header())
	return nil
}

func (m *Mutex) check(ctx context.Context) error {
	if ctx == nil {
		return errNilContext
	}
	return m.broken
}

var errNilContext = errors.New("concurrency: ctx is nil: must be a context")

// claimKey names the mutex among those of its session.
func (m *Mutex) claimKey() claimKey { return claimKey{m.prefix, false} }

// wait returns a hold on the mutex, which may be one that the session has already.
func (m *Mutex) wait(ctx context.Context) (*lock.Hold, error) {
	if m.session.opts.strict {
		return strictly(ctx, m.session, m.claimKey(), nil, ways[*lock.Hold]{m.inner.Resume, anyPlace, m.inner.Lock})
	}
	c, leave := m.session.claim(m.claimKey())
	defer leave()
	release, err := c.take(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer release()
	if held, err := c.holds(ctx); held || err != nil {
		return c.hold, err
	}
	left, err := m.session.left(ctx, m.prefix)
	if err != nil {
		return nil, err
	}
	end := c.wait()
	defer end()
	h, ok, err := takeUp(ctx, m.session, left, m.inner.Resume)
	if err == nil && !ok {
		h, err = m.inner.Lock(ctx)
	}
	c.hold = h
	return h, err
}

// try is wait for a mutex that nobody else has or waits for.
func (m *Mutex) try(ctx context.Context) (*lock.Hold, error) {
	if m.session.opts.strict {
		return strictly(ctx, m.session, m.claimKey(), nil, ways[*lock.Hold]{m.inner.Resume, m.leads, m.inner.TryLock})
	}
	c, leave := m.session.claim(m.claimKey())
	defer leave()
	release, err := c.take(ctx, c.waiting()) // unless another goroutine of the session waits
	if err != nil {
		return nil, err
	}
	defer release()
	if held, err := c.holds(ctx); held || err != nil {
		return c.hold, err
	}
	left, err := m.session.left(ctx, m.prefix)
	if err != nil {
		return nil, err
	}
	left = left[:min(len(left), 1)]
	if len(left) > 0 {
		if first, err := m.leads(ctx, left[0]); err != nil || !first {
			return nil, cmp.Or(err, lock.ErrLocked)
		}
	}
	h, ok, err := takeUp(ctx, m.session, left, m.inner.Resume)
	if err == nil && !ok {
		h, err = m.inner.TryLock(ctx)
	}
	c.hold = h
	return h, err
}

// leads reports whether nobody is before what is left.
func (m *Mutex) leads(ctx context.Context, l leftover) (bool, error) {
	resp, err := beside(ctx, request{m.session.client, "concurrency: looking who is first"}, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return m.session.client.Get(ctx, m.prefix, append(clientv3.WithFirstCreate(), clientv3.WithKeysOnly())...)
	})
	return err == nil && len(resp.Kvs) > 0 && resp.Kvs[0].CreateRevision == l.created, err
}

// Unlock gives the mutex up, if it still has what its Lock has put: for all that have
// locked it with the session, unless [WithStrict]. It returns [ErrSessionExpired] if the
// session has ended before, and [ErrLockReleased] if the mutex is not locked or its key was
// deleted by somebody else. After [Session.Orphan], and when the context of [WithContext] has
// ended, it still deletes the key, and returns nil then.
//
// ctx bounds the wait: when it ends, its error is returned, the lock is over for this
// process, and its key is removed in the background. Unlock may then be called again, to wait
// again.
func (m *Mutex) Unlock(ctx context.Context) error {
	if err := m.check(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	h := m.hold
	m.mu.Unlock()
	if h == nil {
		return ErrLockReleased
	}
	err := m.unlock(ctx, h)
	m.session.given(m.claimKey())
	if err != nil && !errors.Is(err, lock.ErrLost) {
		return plain(ctx, err)
	}
	m.mu.Lock()
	if m.hold == h {
		m.hold = nil
	}
	m.mu.Unlock()
	if err != nil && !errors.Is(err, lease.ErrLost) && !errors.Is(err, lease.ErrClosed) {
		return ErrLockReleased
	}
	return plain(ctx, err)
}

// unlock gives a hold up. It fails with [lock.ErrLost] if it was lost before.
func (m *Mutex) unlock(ctx context.Context, h *lock.Hold) error {
	end := m.session.call()
	defer end()
	err := h.Unlock(ctx)
	if err == nil || !m.session.abandoned() {
		return err
	}
	again := m.removes(ctx, h)
	direct := m.session.removeLeft(ctx, h.Key(), h.Token().Revision(), err)
	switch {
	case !errors.Is(direct, election.ErrLost):
		return direct
	case errors.Is(err, lock.ErrLost) && !again:
		return err
	}
	return nil // it was given up, and a removal of ours has come through
}

// removes notes that the key of a hold is about to be removed although the session is over,
// and reports whether it was before: then that may have come through without an answer.
func (m *Mutex) removes(ctx context.Context, h *lock.Hold) (again bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	again = m.removed == h
	if ctx.Err() == nil {
		m.removed = h
	}
	return again
}

// IsOwner returns a condition that is true while the mutex is held as its Lock has put it,
// and is never true otherwise.
func (m *Mutex) IsOwner() clientv3.Cmp {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hold == nil {
		return clientv3.Compare(clientv3.CreateRevision("\x00"), "<", 0)
	}
	return m.hold.Guard()[0]
}

// Key returns the key of the lock in etcd, empty while it is not held.
func (m *Mutex) Key() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hold == nil {
		return ""
	}
	return m.hold.Key()
}

// Header returns the header of the answer that the last lock rests on, nil before there
// was one. Its revision is the create revision of the key: the fencing token.
func (m *Mutex) Header() *pb.ResponseHeader {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.header
}

func header(h lease.Header) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: h.Cluster, MemberId: h.Member, Revision: h.Revision, RaftTerm: h.Term}
}

type locker struct{ mutex *Mutex }

// NewLocker returns a [Mutex] as a [sync.Locker]. Its Lock waits for as long as the client
// lives, and both methods panic with the error where Lock and Unlock of a Mutex return one:
// the interface has no room for it.
func NewLocker(s *Session, pfx string) sync.Locker { return &locker{NewMutex(s, pfx)} }

func (l *locker) Lock() { l.must((*Mutex).Lock) }

func (l *locker) Unlock() { l.must((*Mutex).Unlock) }

func (l *locker) must(do func(*Mutex, context.Context) error) {
	if l.mutex.broken != nil {
		panic(l.mutex.broken)
	}
	//nolint:forbidigo // as in the other library: there is no other
	if err := do(l.mutex, l.mutex.session.client.Ctx()); err != nil {
		panic(err)
	}
}
