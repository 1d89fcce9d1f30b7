package lock_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

func TestNewMutexRefusesBadInput(t *testing.T) {
	t.Parallel()
	p := newPeer(t, etcdtest.New(t))
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
	prefix := c.Prefix(t)
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
					for range 15 {
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
			require.Equal(t, 6*15, s.count())
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

type key struct{}

func TestHoldsContextHasTheValuesOfLocksButNotItsEnd(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c)
	ctx, cancel := context.WithCancel(context.WithValue(guarded(t), key{}, "value"))
	h, err := p.mutex(t, c.Prefix(t)+"m").Lock(ctx)
	require.NoError(t, err)
	require.Equal(t, "value", h.Context().Value(key{}))
	_, has := h.Context().Deadline()
	require.False(t, has)
	cancel()
	require.NoError(t, h.Context().Err())
	require.NoError(t, h.Err())
	unlock(t, h)
	await(t, h.Context().Done(), "the context ends")
	require.ErrorIs(t, context.Cause(h.Context()), lock.ErrReleased)
	require.Equal(t, "value", h.Context().Value(key{}))
}

func TestWithEndsWithEither(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c)
	h := p.lock(t, c.Prefix(t)+"m")

	why := errors.New("why")
	parent, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
	ctx, free := h.With(parent)
	defer free()
	require.Equal(t, "value", ctx.Value(key{}))
	cancel(why)
	await(t, ctx.Done(), "it ends with its parent")
	require.Equal(t, why, context.Cause(ctx))

	ctx, free = h.With(t.Context())
	free()
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.NoError(t, h.Err(), "to free it does not end the hold")

	ctx, free = h.With(t.Context())
	defer free()
	unlock(t, h)
	await(t, ctx.Done(), "it ends with the hold")
	require.ErrorIs(t, context.Cause(ctx), lock.ErrReleased)
}

func TestHoldEndsBeforeItsKeyIsDeleted(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c, withTTL(calm))
	h := p.lock(t, c.Prefix(t)+"m")
	sent := make(chan error, 1)
	p.Rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
		if h.Deadline().After(time.Now()) || h.Remaining() > 0 {
			t.Error("its deadline has not been capped")
		}
		sent <- context.Cause(h.Context())
		return invoke()
	})
	unlock(t, h)
	require.ErrorIs(t, await(t, sent, "the deletion"), lock.ErrReleased)
}

func TestHoldIsOverAfterUnlock(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c, withTTL(calm))
	h := p.lock(t, c.Prefix(t)+"m")
	name, token := h.Key(), h.Token()
	unlock(t, h)
	p.Rec.Reset()

	require.ErrorIs(t, h.Err(), lock.ErrReleased)
	require.NotErrorIs(t, h.Err(), lock.ErrLost)
	require.False(t, h.Deadline().After(time.Now()))
	require.LessOrEqual(t, h.Remaining(), time.Duration(0))
	require.Equal(t, name, h.Key())
	require.Equal(t, token, h.Token())
	ctx, free := h.With(t.Context())
	defer free()
	await(t, ctx.Done(), "nothing new begins")
	_, err := h.Txn(guarded(t)).Then(clientv3.OpPut("k", "v")).Commit()
	require.ErrorIs(t, err, lock.ErrReleased)
	unlock(t, h)
	require.Empty(t, p.Rec.Calls(), "no request is made")
	resp, err := p.Client.Txn(guarded(t)).If(h.Guard()...).Commit()
	require.NoError(t, err)
	require.False(t, resp.Succeeded)
}

func TestUnlockFromManyGoroutinesDeletesOnce(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c, withTTL(calm))
	m := p.mutex(t, c.Prefix(t)+"m")
	for range 20 {
		h, err := m.Lock(guarded(t))
		require.NoError(t, err)
		p.Rec.Reset()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := h.Unlock(guarded(t)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, tally{writes: 1}, sent(p.Rec))
	}
}

func TestUnlockWithADoneContextReleasesInTheBackground(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	h := p.lock(t, name)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := h.Unlock(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, h.Err(), lock.ErrReleased)
	unlock(t, h) // waits
	require.Empty(t, queueOf(t, p.Client, name))
}

func TestUnlockDuringAPartitionReturnsWithItsContextAndReleasesLater(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator, name := c.Client(t), c.Prefix(t)+"m"
	p := newPeer(t, c, withTTL(calm))
	h := p.lock(t, name)
	p.Net.Cut()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- h.Unlock(ctx) }()
	}
	await(t, h.Context().Done(), "the hold ends at once")
	cancel()
	for range 2 {
		require.ErrorIs(t, await(t, done, "Unlock returns"), context.Canceled)
	}
	require.Len(t, queueOf(t, operator, name), 1, "still cut off")
	p.Net.Heal()
	awaitQueue(t, operator, name, 0)
	unlock(t, h)
}

func TestUnlockAfterTheSessionWasClosedSaysThatTheLockWasLost(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, end := range map[string]func(p *peer) error{
		"session": func(p *peer) error { return p.Session.Close(guarded(t)) },
		"client":  func(p *peer) error { return p.Client.Close() },
	} {
		p := newPeer(t, c)
		h := p.lock(t, c.Prefix(t)+"m")
		require.NoError(t, end(p), what)
		lost(t, h)
		for range 2 {
			require.ErrorIs(t, h.Unlock(guarded(t)), lock.ErrLost, what)
		}
		_, err := h.Txn(guarded(t)).Commit()
		require.ErrorIs(t, err, lock.ErrLost, what)
	}
}

func TestUnlockAfterUnlockAndCloseIsStillFine(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPeer(t, c)
	h := p.lock(t, c.Prefix(t)+"m")
	unlock(t, h)
	require.NoError(t, p.Session.Close(guarded(t)))
	unlock(t, h)
	require.ErrorIs(t, h.Err(), lock.ErrReleased)
}

func TestDoHoldsTheLockWhileItsFunctionRuns(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c), c.Prefix(t)+"m"
	m := p.mutex(t, name)
	why := errors.New("why")
	for _, do := range []func(context.Context, func(context.Context, *lock.Hold) error) error{m.Do, m.TryDo} {
		var held *lock.Hold
		err := do(context.WithValue(guarded(t), key{}, "value"), func(ctx context.Context, h *lock.Hold) error {
			held = h
			require.Equal(t, "value", ctx.Value(key{}))
			requireOnly(t, p.Client, name, h)
			require.ErrorIs(t, m.TryDo(ctx, nil), lock.ErrLocked)
			return why
		})
		require.Equal(t, why, err)
		require.ErrorIs(t, held.Err(), lock.ErrReleased)
		require.Empty(t, queueOf(t, p.Client, name))
		require.NoError(t, do(guarded(t), func(context.Context, *lock.Hold) error { return nil }))
	}
}

func TestDoEndsItsContextWithTheCallersAndReleasesAllTheSame(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c), c.Prefix(t)+"m"
	ctx, cancel := context.WithCancel(guarded(t))
	err := p.mutex(t, name).Do(ctx, func(ctx context.Context, h *lock.Hold) error {
		cancel()
		await(t, ctx.Done(), "its context ends")
		require.NoError(t, h.Err())
		return nil
	})
	require.NoError(t, err)
	awaitQueue(t, p.Client, name, 0)
}

func TestDoSaysThatTheLockWasLost(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, operator := newPeer(t, c, withTTL(unhurried)), c.Client(t)
	m := p.mutex(t, c.Prefix(t)+"m")
	why := errors.New("why")
	for _, returned := range []error{nil, why} {
		err := m.Do(guarded(t), func(ctx context.Context, h *lock.Hold) error {
			remove(t, operator, h.Key())
			await(t, ctx.Done(), "its context ends with the hold")
			require.ErrorIs(t, context.Cause(ctx), lock.ErrLost)
			return returned
		})
		require.ErrorIs(t, err, lock.ErrLost)
		if returned != nil {
			require.ErrorIs(t, err, returned)
		}
	}
	// Nobody has noticed before fn returned.
	err := m.Do(guarded(t), func(_ context.Context, h *lock.Hold) error {
		remove(t, operator, h.Key())
		return nil
	})
	require.ErrorIs(t, err, lock.ErrLost)
}

func TestDoReleasesWhenItsFunctionPanicsOrExits(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c), c.Prefix(t)+"m"
	m := p.mutex(t, name)
	require.PanicsWithValue(t, "why", func() {
		_ = m.Do(guarded(t), func(context.Context, *lock.Hold) error { panic("why") })
	})
	require.Empty(t, queueOf(t, p.Client, name))

	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = m.TryDo(guarded(t), func(context.Context, *lock.Hold) error {
			runtime.Goexit()
			return nil
		})
	}()
	await(t, exited, "the goroutine exits")
	require.Empty(t, queueOf(t, p.Client, name))
}

func TestDoMayUnlockEarlyWithItsOwnContext(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c), c.Prefix(t)+"m"
	require.NoError(t, p.mutex(t, name).Do(guarded(t), func(ctx context.Context, h *lock.Hold) error {
		require.NoError(t, h.Unlock(ctx), "its end is that of the hold")
		require.Empty(t, queueOf(t, p.Client, name), "it has waited")
		await(t, ctx.Done(), "its context ends")
		return nil
	}))
}

func TestTxnTakesEffectWhileTheLockIsHeld(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, k := newPeer(t, c), c.Prefix(t)+"k"
	h := p.lock(t, c.Prefix(t)+"m")

	resp, err := h.Txn(guarded(t)).Then(clientv3.OpPut(k, "1"), clientv3.OpGet(k)).Commit()
	require.NoError(t, err)
	require.True(t, resp.Succeeded)
	require.Len(t, resp.Responses, 2)
	require.Equal(t, "1", string(resp.Responses[1].GetResponseRange().Kvs[0].Value))
	require.Equal(t, get(t, p.Client, k).ModRevision, resp.Header.Revision)

	is := func(v string) clientv3.Cmp { return clientv3.Compare(clientv3.Value(k), "=", v) }
	resp, err = h.Txn(guarded(t)).If(is("1")).Then(clientv3.OpPut(k, "2")).Else(clientv3.OpPut(k, "else")).Commit()
	require.NoError(t, err)
	require.True(t, resp.Succeeded)
	require.Equal(t, "2", string(get(t, p.Client, k).Value))

	resp, err = h.Txn(guarded(t)).If(is("1")).Then(clientv3.OpPut(k, "then")).Else(clientv3.OpPut(k, "3")).Commit()
	require.NoError(t, err, "the caller's own condition is not the guard")
	require.False(t, resp.Succeeded)
	require.Equal(t, "3", string(get(t, p.Client, k).Value))

	resp, err = h.Txn(guarded(t)).Commit()
	require.NoError(t, err)
	require.True(t, resp.Succeeded, "of no conditions")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = h.Txn(ctx).Then(clientv3.OpPut(k, "4")).Commit()
	require.ErrorIs(t, err, context.Canceled)
	_, err = h.Txn(guarded(t)).Then(clientv3.OpPut("", "no key")).Commit()
	require.Error(t, err)
	require.NoError(t, h.Err(), "a transaction that fails does not end the hold")
	unlock(t, h)
}

func TestTxnOfALostHoldWritesNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, operator, prefix := newPeer(t, c, withTTL(calm)), c.Client(t), c.Prefix(t)
	for what, interfere := range map[string]func(h *lock.Hold){
		"deleted": func(h *lock.Hold) { remove(t, operator, h.Key()) },
		"in other hands": func(h *lock.Hold) {
			remove(t, operator, h.Key())
			put(t, operator, h.Key(), "somebody else")
		},
	} {
		h := p.lock(t, prefix+what)
		interfere(h)
		k := prefix + "k"
		_, err := h.Txn(guarded(t)).Then(clientv3.OpPut(k, "then")).Else(clientv3.OpPut(k, "else")).Commit()
		require.ErrorIs(t, err, lock.ErrLost)
		require.Nil(t, get(t, operator, k))
		lost(t, h)
		p.Rec.Reset()
		_, err = h.Txn(guarded(t)).Then(clientv3.OpPut(k, "again")).Commit()
		require.ErrorIs(t, err, lock.ErrLost)
		require.Empty(t, p.Rec.Calls(), "refused without a request")
		_, err = operator.Delete(guarded(t), h.Key())
		require.NoError(t, err)
	}
}

func TestGuardIsTrueOnlyWhileTheLockIsHeld(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, operator, name := newPeer(t, c), c.Client(t), c.Prefix(t)+"m"
	holds := func(h *lock.Hold) bool {
		resp, err := operator.Txn(guarded(t)).If(h.Guard()...).Commit()
		require.NoError(t, err)
		return resp.Succeeded
	}
	first := p.lock(t, name)
	require.Len(t, first.Guard(), 1)
	require.True(t, holds(first))
	unlock(t, first)
	require.False(t, holds(first))
	second := p.lock(t, name)
	require.Equal(t, first.Key(), second.Key(), "the key is used again")
	require.False(t, holds(first))
	require.True(t, holds(second))
	unlock(t, second)
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
