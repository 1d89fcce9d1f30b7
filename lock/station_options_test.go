package lock_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lock"
)

func TestOptionsOfOneNameHaveToAgree(t *testing.T) {
	t.Parallel()
	p := newPeer(t, etcdtest.New(t), withTTL(calm))
	inUse := p.mutex(t, "m", lock.WithLocalHandoff(3), lock.WithOwner("o"))
	for _, opts := range [][]lock.Option{
		{lock.WithLocalHandoff(4), lock.WithOwner("o")},
		{lock.WithLocalHandoff(3), lock.WithOwner("other")},
		{lock.WithLocalHandoff(3), lock.WithOwner("o"), lock.WithLinger(time.Second)},
		{lock.WithLocalHandoff(3), lock.WithOwner("o"), lock.WithLockDelay(time.Second)},
	} {
		_, err := lock.NewMutex(p.Session, "m", opts...)
		require.ErrorContains(t, err, `lock: mutex "m" of this session is in use with 3 local hand-offs, 0s of lingering, a lock delay of 0s and owner "o"`)
		require.ErrorContains(t, err, "it cannot have ")
	}
	_, err := lock.NewMutex(p.Session, "m", lock.WithLinger(time.Second), lock.WithLockDelay(2*time.Second), lock.WithOwner("x"))
	require.ErrorContains(t, err, `it cannot have 0 local hand-offs, 1s of lingering, a lock delay of 2s and owner "x"`)
	p.mutex(t, "m", lock.WithLocalHandoff(3), lock.WithOwner("o"))
	p.mutex(t, "m/other", lock.WithLocalHandoff(4))
	p.mutex(t, "m", lock.WithOwner("plain"))
	runtime.KeepAlive(inUse)
}

func TestOptionsOutOfRangeAreRefused(t *testing.T) {
	t.Parallel()
	p := newPeer(t, etcdtest.New(t), withTTL(calm))
	for want, opt := range map[string]lock.Option{
		"lock: 0 local hand-offs: must be from 1 to 524287":             lock.WithLocalHandoff(0),
		"lock: -1 local hand-offs: must be from 1 to 524287":            lock.WithLocalHandoff(-1),
		"lock: 524288 local hand-offs: must be from 1 to 524287":        lock.WithLocalHandoff(lock.MaxHandoffs + 1),
		"lock: linger of 0s: must be from 1ms to 1m0s":                  lock.WithLinger(0),
		"lock: linger of 1m0.000000001s: must be from 1ms to 1m0s":      lock.WithLinger(lock.MaxLinger + 1),
		"lock: lock delay of 999.999999ms: must be from 1s to 5m0s":     lock.WithLockDelay(time.Second - 1),
		"lock: lock delay of 5m0.000000001s: must be from 1s to 5m0s":   lock.WithLockDelay(lock.MaxLockDelay + 1),
		"lock: lock delay of -2562047h47m16.854775808s: must be from 1": lock.WithLockDelay(-1 << 63),
	} {
		_, err := lock.NewMutex(p.Session, "m", opt)
		require.ErrorContains(t, err, want)
	}
	for name, opt := range map[string]lock.Option{
		"WithLocalHandoff": lock.WithLocalHandoff(1), "WithLinger": lock.WithLinger(time.Second), "WithLockDelay": lock.WithLockDelay(time.Second),
	} {
		_, err := lock.NewMutex(p.Session, "m", opt, lock.WithEtcdLayout())
		require.ErrorContains(t, err, "lock: options WithEtcdLayout and "+name)
		_, err = lock.NewRWMutex(p.Session, "m", opt)
		require.ErrorContains(t, err, "lock: option "+name+" given to a rwmutex: it is for a mutex only")
		_, err = lock.NewSemaphore(p.Session, "m", 1, opt)
		require.ErrorContains(t, err, name)
		_, err = lock.NewMulti(p.Session, []string{"m"}, opt)
		require.ErrorContains(t, err, name)
	}
}

func TestAProcessForgetsNamesThatItDoesNotUseAnyMore(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, prefix := newPeer(t, c, withTTL(calm)), c.Prefix(t)
	shared := func() (n int) {
		inside.Of(p.Session).Shared().Range(func(any, any) bool { n++; return true })
		return n
	}
	forgotten := func(left int, what string) { // with time between the collections: they use all processors
		t.Helper()
		require.Eventually(t, func() bool { runtime.GC(); return shared() == left }, guard, 100*time.Millisecond, what)
	}
	unlock(t, p.lock(t, prefix+"plain"))
	others := shared() // what a session has for all its locks
	kept := p.mutex(t, prefix+"kept", lock.WithLocalHandoff(3))
	held := p.lock(t, prefix+"held", lock.WithLocalHandoff(3))
	unlock(t, p.lock(t, prefix+"lingers", lock.WithLinger(time.Millisecond)))
	for i := range 20 {
		unlock(t, p.lock(t, fmt.Sprintf("%sm%d", prefix, i), lock.WithLocalHandoff(3), lock.WithLinger(time.Millisecond)))
	}
	forgotten(others+2, "all but two are forgotten")
	_, err := lock.NewMutex(p.Session, prefix+"held", lock.WithLocalHandoff(4))
	require.ErrorContains(t, err, "in use", "its hold uses it")
	unlock(t, held)
	runtime.KeepAlive(kept)
	forgotten(others, "all are forgotten")
	p.mutex(t, prefix+"held", lock.WithLocalHandoff(4))
}

func TestMutexWithHandoffWorksBesideAPlainOneOfTheSameSession(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, ctx := c.Prefix(t)+"m", guarded(t)
	p, other := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
	inside := section{t: t}
	var all sync.WaitGroup
	for _, m := range []*lock.Mutex{
		p.mutex(t, name), p.mutex(t, name, lock.WithLocalHandoff(3), lock.WithLinger(time.Second)),
		other.mutex(t, name), other.mutex(t, name, lock.WithLinger(2*time.Second)),
	} {
		for range 3 {
			all.Go(func() {
				for range 10 {
					if err := m.Do(ctx, func(_ context.Context, h *lock.Hold) error { inside.visit(h); return nil }); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	require.Equal(t, 120, inside.count())
}
