package lock_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

func TestANilContextIsAnError(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c), c.Prefix(t)+"m"
	mutex, handed := p.mutex(t, name), p.mutex(t, name+"2", lock.WithLocalHandoff(3))
	rw, err := lock.NewRWMutex(p.Session, name)
	require.NoError(t, err)
	semaphore, err := lock.NewSemaphore(p.Session, name, 2)
	require.NoError(t, err)
	multi, err := lock.NewMulti(p.Session, []string{name})
	require.NoError(t, err)
	h, writer := p.lock(t, name+"3"), func() *lock.Hold { h, err := rw.Lock(guarded(t)); require.NoError(t, err); return h }()
	fn := func(context.Context, *lock.Hold) error { return nil }
	var none context.Context
	for what, call := range map[string]func() error{
		"Lock":             func() error { _, err := mutex.Lock(none); return err },
		"TryLock":          func() error { _, err := mutex.TryLock(none); return err },
		"Lock, handed on":  func() error { _, err := handed.Lock(none); return err },
		"TryLock, handed":  func() error { _, err := handed.TryLock(none); return err },
		"Do":               func() error { return mutex.Do(none, fn) },
		"TryDo":            func() error { return mutex.TryDo(none, fn) },
		"Run":              func() error { return mutex.Run(none, fn) },
		"RWMutex.Lock":     func() error { _, err := rw.Lock(none); return err },
		"RWMutex.TryLock":  func() error { _, err := rw.TryLock(none); return err },
		"RWMutex.RLock":    func() error { _, err := rw.RLock(none); return err },
		"RWMutex.TryRLock": func() error { _, err := rw.TryRLock(none); return err },
		"RWMutex.RDo":      func() error { return rw.RDo(none, fn) },
		"Downgrade":        func() error { _, err := rw.Downgrade(none, writer); return err },
		"Acquire":          func() error { _, err := semaphore.Acquire(none, 1); return err },
		"TryAcquire":       func() error { _, err := semaphore.TryAcquire(none, 1); return err },
		"Semaphore.Do":     func() error { return semaphore.Do(none, 1, fn) },
		"Multi.Lock":       func() error { _, err := multi.Lock(none); return err },
		"Multi.TryLock":    func() error { _, err := multi.TryLock(none); return err },
		"Multi.Do":         func() error { return multi.Do(none, fn) },
		"Inspect":          func() error { _, err := lock.Inspect(none, p.Client, name); return err },
		"RequestRelease":   func() error { return lock.RequestRelease(none, p.Client, name) },
		"Resume":           func() error { _, err := mutex.Resume(none, h.Key(), h.Token().Revision()); return err },
		"Unlock":           func() error { return h.Unlock(none) },
		"Txn":              func() error { _, err := h.Txn(none).Commit(); return err },
	} {
		require.ErrorContains(t, call(), "context is nil", what)
	}
	require.NoError(t, h.Err(), "it goes on")
	unlock(t, h)
	unlock(t, writer)
}

func TestANilFunctionIsAnErrorAndNothingIsLocked(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c), c.Prefix(t)+"m"
	mutex := p.mutex(t, name)
	rw, err := lock.NewRWMutex(p.Session, name)
	require.NoError(t, err)
	semaphore, err := lock.NewSemaphore(p.Session, name, 2)
	require.NoError(t, err)
	multi, err := lock.NewMulti(p.Session, []string{name})
	require.NoError(t, err)
	p.Rec.Reset()
	ctx := guarded(t)
	require.ErrorContains(t, mutex.TryDo(ctx, nil), "fn is nil")
	require.Empty(t, queueOf(t, p.Client, name))
	p.Rec.Reset()
	for what, call := range map[string]func() error{
		"Do": func() error { return mutex.Do(ctx, nil) }, "Run": func() error { return mutex.Run(ctx, nil) },
		"RWMutex.Do": func() error { return rw.Do(ctx, nil) }, "RDo": func() error { return rw.RDo(ctx, nil) }, "TryRDo": func() error { return rw.TryRDo(ctx, nil) },
		"RRun": func() error { return rw.RRun(ctx, nil) }, "Semaphore.Do": func() error { return semaphore.Do(ctx, 1, nil) },
		"Semaphore.Run": func() error { return semaphore.Run(ctx, 1, nil) }, "Multi.Do": func() error { return multi.Do(ctx, nil) },
	} {
		require.ErrorContains(t, call(), "fn is nil", what)
	}
	require.Zero(t, p.Rec.Writes(), "nothing was asked for")
}

func TestASessionThatIsNoneIsAnError(t *testing.T) {
	t.Parallel()
	for _, s := range []*lease.Session{nil, {}} {
		_, err := lock.NewMutex(s, "m")
		require.ErrorContains(t, err, "must come from lease.NewSession")
		_, err = lock.NewRWMutex(s, "m")
		require.ErrorContains(t, err, "must come from lease.NewSession")
		_, err = lock.NewSemaphore(s, "m", 1)
		require.ErrorContains(t, err, "must come from lease.NewSession")
		_, err = lock.NewMulti(s, []string{"m"})
		require.ErrorContains(t, err, "must come from lease.NewSession")
	}
}
