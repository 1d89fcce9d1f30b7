package lock_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

func TestNewMutexRefusesBadInput(t *testing.T) {
	t.Parallel()
	p := newPeer(t, etcdtest.New(t), withTTL(calm))
	p.Rec.Reset()
	for _, bad := range []struct {
		name string
		opts []lock.Option
		want string
	}{
		{"", nil, "name is empty: must be at least one byte"},
		{strings.Repeat("x", lock.MaxName+1), nil, "name of 1025 bytes: must be at most 1024"},
		{"a\x00b", nil, "must not contain control characters"},
		{"a\nb", nil, "must not contain control characters"},
		{"a\u0085b", nil, "must not contain control characters"},
		{"a\xffb", nil, "must be valid UTF-8"},
		{"a/", nil, "must not end with a slash"},
		{"/", nil, "must not end with a slash"},
		{"~mutex", nil, `segment "~mutex" is reserved`},
		{"a/~mutex", nil, `segment "~mutex" is reserved`},
		{"a/~mutex/b", nil, `segment "~mutex" is reserved`},
		{"a/~anything/b", nil, `segment "~anything" is reserved: must not begin with "~"`},
		{"a", []lock.Option{lock.WithOwner(strings.Repeat("x", lock.MaxOwner+1))}, "owner of 257 bytes: must be at most 256"},
		{"a", []lock.Option{lock.WithOwner("\xff")}, "owner \"\\xff\": must be valid UTF-8"},
		{"a", []lock.Option{nil}, "option is nil: must come from one of the With functions"},
	} {
		_, err := lock.NewMutex(p.Session, bad.name, bad.opts...)
		require.ErrorContains(t, err, bad.want)
		require.ErrorContains(t, err, "lock: ")
		if bad.opts == nil {
			_, err = lock.Inspect(guarded(t), p.Client, bad.name)
			require.ErrorContains(t, err, bad.want)
		}
	}
	_, err := lock.NewMutex(nil, "a")
	require.ErrorContains(t, err, "session is nil")
	_, err = lock.NewMutex(p.Session, "", nil, lock.WithOwner("\xff"))
	for _, want := range []string{"name is empty", "option is nil", "owner"} {
		require.ErrorContains(t, err, want, "every mistake is named")
	}
	require.Empty(t, p.Rec.Calls(), "no request is made")
}

func TestNamesOfAnyOtherKindAreLocks(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, prefix := newPeer(t, c), c.Prefix(t)
	for _, name := range []string{
		"a", "/a", "//a", "a//b", "a b", "a~b", "a/b~", "schlüssel/鍵", `q"uo\te`, strings.Repeat("x", lock.MaxName-len(prefix)),
	} {
		h := p.lock(t, prefix+name, lock.WithOwner(strings.Repeat("ü", lock.MaxOwner/2)))
		require.True(t, strings.HasPrefix(h.Key(), prefix+name+"/~mutex/"), h.Key())
		_, err := p.mutex(t, prefix+name).TryLock(guarded(t))
		require.ErrorIs(t, err, lock.ErrLocked)
		unlock(t, h)
	}
}

func TestHoldIsAnEntryUnderTheSessionsLease(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c), c.Prefix(t)+"m"
	h := p.lock(t, name)
	kv := get(t, p.Client, h.Key())
	require.NotNil(t, kv)
	require.EqualValues(t, p.LeaseID(t), kv.Lease)
	require.Equal(t, kv.CreateRevision, h.Token().Revision())
	require.NoError(t, h.Err())
	require.NoError(t, h.Context().Err())
	l, err := p.Session.Lease(guarded(t))
	require.NoError(t, err)
	require.False(t, h.Deadline().After(l.Deadline()))
	require.Positive(t, h.Remaining())
	require.LessOrEqual(t, h.Remaining(), l.TTL())
	unlock(t, h)
	require.Nil(t, get(t, p.Client, h.Key()))
}

func TestWaitersAreGrantedInTheOrderOfTheirRequests(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	// Some share a session, and some even the mutex.
	peers, name := newPeers(t, c, 3), c.Prefix(t)+"m"
	h := peers[0].lock(t, name)
	var outcomes []<-chan outcome
	for i := range 9 {
		done, _ := peers[i%len(peers)].queueUp(guarded(t), t, name)
		outcomes = append(outcomes, done)
	}
	for i, done := range outcomes {
		for _, later := range outcomes[i:] {
			stillWaits(t, later)
		}
		unlock(t, h)
		h = granted(t, done)
	}
	unlock(t, h)
}

func TestGoroutinesExcludeEachOther(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	prefix, rounds := c.Prefix(t), suite.Long(5, 15)
	p := newPeer(t, c)
	shared := p.mutex(t, prefix+"one mutex")
	for what, mutex := range map[string]func() *lock.Mutex{
		"one mutex":   func() *lock.Mutex { return shared },
		"one session": func() *lock.Mutex { return p.mutex(t, prefix+"one session") },
		"no session":  func() *lock.Mutex { return newPeer(t, c).mutex(t, prefix+"no session") },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := &section{t: t}
			var wg sync.WaitGroup
			for range 6 {
				m := mutex()
				wg.Go(func() {
					for range rounds {
						if err := m.Do(guarded(t), func(_ context.Context, h *lock.Hold) error {
							s.visit(h)
							return h.Err()
						}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			require.Equal(t, 6*rounds, s.count())
		})
	}
}

func TestAcquiringWithADoneContextFailsWithoutARequest(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c, withTTL(calm))
	m := p.mutex(t, c.Prefix(t)+"m")
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	p.Rec.Reset()
	fn := func(context.Context, *lock.Hold) error {
		t.Error("fn was called")
		return nil
	}
	_, lockErr := m.Lock(ctx)
	_, tryErr := m.TryLock(ctx)
	for _, err := range []error{lockErr, tryErr, m.Do(ctx, fn), m.TryDo(ctx, fn)} {
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, why)
	}
	require.Empty(t, p.Rec.Calls())
}

func TestAcquiringWithAClosedSessionFails(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	for _, end := range []func(p *peer) error{
		func(p *peer) error { return p.Session.Close(guarded(t)) },
		func(p *peer) error { return p.Client.Close() },
	} {
		p := newPeer(t, c)
		m := p.mutex(t, name)
		require.NoError(t, end(p))
		_, err := m.Lock(guarded(t))
		require.ErrorIs(t, err, lease.ErrClosed)
		_, err = m.TryLock(guarded(t))
		require.ErrorIs(t, err, lease.ErrClosed)
	}
}

func TestTryLockSaysWhoHasTheLock(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, other, name := newPeer(t, c), newPeer(t, c), c.Prefix(t)+"m"
	began := time.Now()
	h, err := p.mutex(t, name, lock.WithOwner("the owner")).TryLock(guarded(t))
	require.NoError(t, err)
	// One that waits is not the owner.
	done, _ := other.queueUp(guarded(t), t, name, lock.WithOwner("waits"))

	_, err = other.mutex(t, name).TryLock(guarded(t))
	var locked *lock.LockedError
	require.ErrorAs(t, err, &locked)
	require.ErrorIs(t, err, lock.ErrLocked)
	require.Equal(t, "the owner", locked.Owner)
	require.Equal(t, name, locked.Name)
	require.Equal(t, h.Key(), locked.Key)
	require.Equal(t, h.Token(), locked.Token)
	require.WithinRange(t, locked.Since, began.Add(-time.Millisecond), time.Now())
	require.ErrorContains(t, err, `is locked by "the owner"`)
	unlock(t, h)
	unlock(t, granted(t, done))

	h, err = other.mutex(t, name).TryLock(guarded(t))
	require.NoError(t, err)
	unlock(t, h)
}

func TestOwnersAreHostAndProcessByDefault(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c), c.Prefix(t)+"m"
	h := p.lock(t, name)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, host+":"+strconv.Itoa(os.Getpid()), queueOf(t, p.Client, name)[0].Owner)
	unlock(t, h)
}

func TestNamespacedClientsShareTheQueueOfTheirPrefix(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	prefix := c.Prefix(t)
	spaced := c.Client(t)
	spaced.KV = namespace.NewKV(spaced.KV, prefix)
	spaced.Watcher = namespace.NewWatcher(spaced.Watcher, prefix)
	spaced.Lease = namespace.NewLease(spaced.Lease, prefix)
	s, err := lease.NewSession(guarded(t), spaced, lease.WithTTL(unhurried))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	inside, err := lock.NewMutex(s, "m")
	require.NoError(t, err)
	outside := newPeer(t, c, withTTL(calm))

	h, err := inside.Lock(guarded(t))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(h.Key(), "m/"), h.Key())
	require.Equal(t, prefix+h.Key(), queueOf(t, outside.Client, prefix+"m")[0].Key)
	require.Equal(t, h.Key(), queueOf(t, spaced, "m")[0].Key)

	_, err = h.Txn(guarded(t)).If(clientv3.Compare(clientv3.Version("k"), "=", 0)).
		Then(clientv3.OpPut("k", "v"), clientv3.OpGet("k")).Commit()
	require.NoError(t, err)
	require.Equal(t, "v", string(get(t, outside.Client, prefix+"k").Value))

	done, _ := outside.queueUp(guarded(t), t, prefix+"m")
	unlock(t, h)
	h = granted(t, done)
	_, err = inside.TryLock(guarded(t))
	var locked *lock.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, prefix+locked.Key, h.Key())
	granting := make(chan outcome, 1)
	go func() {
		h, err := inside.Lock(guarded(t))
		granting <- outcome{h, err}
	}()
	awaitQueue(t, outside.Client, prefix+"m", 2)
	unlock(t, h)
	h = granted(t, granting)

	// Its look works, too.
	remove(t, outside.Client, prefix+h.Key())
	lost(t, h)
}
