package lock_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// written returns the lock held for writing.
func written(t *testing.T, m *lock.RWMutex) *lock.Hold {
	t.Helper()
	h, err := m.Lock(guarded(t))
	require.NoError(t, err)
	return h
}

func TestDowngradeLetsReadersInAndNoWriterBetween(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, q, name := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m := p.rwMutex(t, name)
	h := written(t, m)
	reader, _ := q.queueUpTo(guarded(t), t, reading, name)
	writer, _ := q.queueUpTo(guarded(t), t, writing, name)
	late, _ := q.queueUpTo(guarded(t), t, reading, name)

	read, err := m.Downgrade(guarded(t), h)
	require.NoError(t, err)
	require.NoError(t, read.Err())
	require.ErrorIs(t, h.Err(), lock.ErrReleased)
	require.ErrorIs(t, context.Cause(h.Context()), lock.ErrReleased)
	require.Equal(t, h.Key(), read.Key(), "the same entry")
	require.Equal(t, h.Token(), read.Token())
	other := granted(t, reader)
	stillWaits(t, writer)
	stillWaits(t, late)
	unlock(t, h)
	require.NoError(t, read.Err(), "Unlock of the old hold does nothing")
	require.NotNil(t, get(t, p.Client, read.Key()))

	unlock(t, read)
	stillWaits(t, writer)
	unlock(t, other)
	write := granted(t, writer)
	stillWaits(t, late)
	unlock(t, write)
	unlock(t, granted(t, late))
}

func TestReadersWhoComeAfterADowngradeAreLetIn(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, q, name := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m, other := p.rwMutex(t, name), q.rwMutex(t, name)
	read, err := m.Downgrade(guarded(t), written(t, m))
	require.NoError(t, err)
	unlock(t, q.take(t, reading, name))
	h, err := other.TryRLock(guarded(t))
	require.NoError(t, err)
	unlock(t, h)
	_, err = other.TryLock(guarded(t))
	require.ErrorIs(t, err, lock.ErrLocked)

	writer, e := q.queueUpTo(guarded(t), t, writing, name)
	_, err = other.TryRLock(guarded(t))
	var locked *lock.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, e.Key, locked.Key, "the writer who is in the way, not the one who has become a reader")
	unlock(t, read)
	unlock(t, granted(t, writer))
}

func TestDowngradeWithinDo(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m := p.rwMutex(t, name)
	for what, within := range map[string]func(ctx context.Context, h *lock.Hold) context.Context{
		"Do's context":       func(ctx context.Context, _ *lock.Hold) context.Context { return ctx },
		"the hold's context": func(_ context.Context, h *lock.Hold) context.Context { return h.Context() },
	} {
		err := m.Do(guarded(t), func(ctx context.Context, h *lock.Hold) error {
			read, err := m.Downgrade(within(ctx, h), h)
			require.NoError(t, err, what)
			require.NoError(t, read.Err(), what)
			unlock(t, p.take(t, reading, name))
			unlock(t, read)
			return nil
		})
		require.NoError(t, err, what)
	}
}

func TestDowngradeRefusesWhatIsNotAWritersHold(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m := p.rwMutex(t, name)
	_, err := m.Downgrade(guarded(t), nil)
	require.ErrorContains(t, err, "lock: hold is nil: must come from RWMutex.Lock")

	for what, k := range map[string]struct {
		how  how
		name string
	}{
		"a reader's":      {reading, name},
		"another lock's":  {writing, name + "/other"},
		"a mutex's":       {exclusively, name},
		"another RWMutex": {writing, name + "/another"},
	} {
		h := p.take(t, k.how, k.name)
		_, err := m.Downgrade(guarded(t), h)
		require.ErrorContains(t, err, "is not for writing it", what)
		require.NoError(t, h.Err(), "%s hold is none the worse", what)
		unlock(t, h)
	}

	h := written(t, m)
	unlock(t, h)
	_, err = m.Downgrade(guarded(t), h)
	require.ErrorIs(t, err, lock.ErrReleased, "unlocked")

	h = written(t, m)
	read, err := m.Downgrade(guarded(t), h)
	require.NoError(t, err)
	_, err = m.Downgrade(guarded(t), h)
	require.Error(t, err, "downgraded before")
	_, err = m.Downgrade(guarded(t), read)
	require.ErrorContains(t, err, "is not for writing it")
	require.NoError(t, read.Err())
	unlock(t, read)
	require.Empty(t, queueOf(t, p.Client, name))
}

func TestDowngradeOfALostHoldSaysSo(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator := c.Client(t)
	for what, k := range map[string]struct {
		lose  func(t *testing.T, p *peer, h *lock.Hold)
		cause error
	}{
		"its key deleted, unnoticed": {func(t *testing.T, _ *peer, h *lock.Hold) { //nolint:thelper // one of the cases
			remove(t, operator, h.Key())
		}, lock.ErrLost},
		"its key in other hands": {func(t *testing.T, _ *peer, h *lock.Hold) { //nolint:thelper // one of the cases
			remove(t, operator, h.Key())
			put(t, operator, h.Key(), "somebody else")
		}, lock.ErrLost},
		"its lease revoked, unnoticed": {func(t *testing.T, p *peer, _ *lock.Hold) { //nolint:thelper // one of the cases
			revoke(t, operator, p.LeaseID(t))
		}, lock.ErrLost},
		"its session closed": {func(t *testing.T, p *peer, h *lock.Hold) { //nolint:thelper // one of the cases
			require.NoError(t, p.Session.Close(guarded(t)))
			lost(t, h)
		}, lease.ErrClosed},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
			m := p.rwMutex(t, name)
			h := written(t, m)
			k.lose(t, p, h)
			_, err := m.Downgrade(guarded(t), h)
			require.ErrorIs(t, err, lock.ErrLost)
			require.ErrorIs(t, err, k.cause)
			require.ErrorIs(t, h.Unlock(guarded(t)), lock.ErrLost)
		})
	}
}

// cutOffDowngrade lets a downgrade wait for an answer, and returns what it will return.
func cutOffDowngrade(ctx context.Context, t *testing.T, p *peer, m *lock.RWMutex, h *lock.Hold) <-chan outcome {
	t.Helper()
	p.Net.Cut()
	done := make(chan outcome, 1)
	go func() {
		read, err := m.Downgrade(ctx, h)
		done <- outcome{read, err}
	}()
	await(t, h.Context().Done(), "the writer's hold ends at once")
	return done
}

func TestDowngradeReturnsWhenItsContextEndsAndHoldsNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, q, name := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m := p.rwMutex(t, name)
	h := written(t, m)
	writer, _ := q.queueUpTo(guarded(t), t, writing, name)
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(guarded(t))
	done := cutOffDowngrade(ctx, t, p, m, h)
	cancel(why)
	o := await(t, done, "Downgrade returns")
	require.ErrorIs(t, o.err, context.Canceled)
	require.ErrorIs(t, o.err, why)
	require.Nil(t, o.hold)
	stillWaits(t, writer)
	p.Net.Heal()
	unlock(t, granted(t, writer))
	unlock(t, h)
	awaitQueue(t, q.Client, name, 0)
}

func TestDowngradeWithADoneContextFailsAndTheHoldGoesOn(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m := p.rwMutex(t, name)
	h := written(t, m)
	ctx, cancel := context.WithCancel(guarded(t))
	cancel()
	p.Rec.Reset()
	_, err := m.Downgrade(ctx, h)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, h.Err())
	require.Empty(t, p.Rec.Calls())
	unlock(t, h)
	require.Empty(t, queueOf(t, p.Client, name))
}

func TestDowngradeEndsWithTheLeaseInAPartition(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, q, name := newPeer(t, c, withTTL(unhurried)), newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m := p.rwMutex(t, name)
	h := written(t, m)
	writer, _ := q.queueUpTo(guarded(t), t, writing, name)
	done := cutOffDowngrade(guarded(t), t, p, m, h)
	o := await(t, done, "Downgrade returns")
	require.ErrorIs(t, o.err, lock.ErrLost)
	require.ErrorIs(t, o.err, lease.ErrLost)
	unlock(t, granted(t, writer))
}

func TestDowngradeSucceedsWhenItsRepliesAreLostOrItsRequestsFail(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, q, name := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m := p.rwMutex(t, name)
	for what, fault := range map[string]func() <-chan struct{}{
		"one reply":     func() <-chan struct{} { return p.Rec.DropReplies("Txn", 1) },
		"three replies": func() <-chan struct{} { return p.Rec.DropReplies("Txn", 3) },
		"two requests":  func() <-chan struct{} { return p.Rec.FailCalls("Txn", 2, codes.Unavailable) },
	} {
		h := written(t, m)
		reader, _ := q.queueUpTo(guarded(t), t, reading, name)
		writer, _ := q.queueUpTo(guarded(t), t, writing, name)
		happened := fault()
		read, err := m.Downgrade(guarded(t), h)
		require.NoError(t, err, what)
		await(t, happened, what)
		require.EqualValues(t, 2, get(t, p.Client, read.Key()).Version, "%s: it was put again once", what)
		unlock(t, granted(t, reader))
		stillWaits(t, writer)
		unlock(t, read)
		unlock(t, granted(t, writer))
	}
}

// A write that was on its way when its hold was downgraded must not turn up among readers.
func TestTransactionsOfAWriterDoNotTakeEffectAfterItsDowngrade(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, q, prefix := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Prefix(t)
	m := p.rwMutex(t, prefix+"m")
	h := written(t, m)
	guard := h.Guard()
	sent, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	removeHook := p.Rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if txn, ok := req.(*pb.TxnRequest); ok && string(txn.Success[0].GetRequestPut().GetKey()) == prefix+"k" {
			once.Do(func() { close(sent) })
			<-goOn
		}
		return invoke()
	})
	defer removeHook()
	written := make(chan error, 1)
	go func() {
		_, err := h.Txn(guarded(t)).Then(clientv3.OpPut(prefix+"k", "late")).Commit()
		written <- err
	}()
	await(t, sent, "the transaction is on its way")
	read, err := m.Downgrade(guarded(t), h)
	require.NoError(t, err)
	reader := q.take(t, reading, prefix+"m")
	close(goOn)
	require.Error(t, await(t, written, "the transaction returns"))
	require.Nil(t, get(t, q.Client, prefix+"k"), "readers hold the lock")
	resp, err := q.Client.Txn(guarded(t)).If(guard...).Commit()
	require.NoError(t, err)
	require.False(t, resp.Succeeded, "nor does the writer's guard hold any more")
	resp, err = q.Client.Txn(guarded(t)).If(read.Guard()...).Commit()
	require.NoError(t, err)
	require.True(t, resp.Succeeded, "the reader's does")
	require.NoError(t, read.Err(), "the hold that was downgraded to is none the worse")
	unlock(t, reader)
	unlock(t, read)
}

func TestDowngradeFromManyGoroutinesSucceedsOnce(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, prefix := newPeer(t, c, withTTL(calm)), c.Prefix(t)
	m := p.rwMutex(t, prefix+"m")
	for range 10 {
		h := written(t, m)
		outcomes := make(chan outcome, 8)
		var wg sync.WaitGroup
		for range cap(outcomes) {
			wg.Go(func() {
				_, _ = h.Txn(guarded(t)).Then(clientv3.OpPut(prefix+"k", "")).Commit()
				read, err := m.Downgrade(guarded(t), h)
				outcomes <- outcome{read, err}
			})
		}
		wg.Wait()
		var reads []*lock.Hold
		for range cap(outcomes) {
			if o := <-outcomes; o.err == nil {
				reads = append(reads, o.hold)
			}
		}
		require.Len(t, reads, 1)
		require.NoError(t, reads[0].Err())
		unlock(t, reads[0])
		require.Empty(t, queueOf(t, p.Client, prefix+"m"))
	}
}
