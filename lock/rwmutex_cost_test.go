package lock_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lock"
)

func TestReadersCostOneWriteEachAndOneMoreToLeave(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	var holds []*lock.Hold
	peers := newPeers(t, c, 3, withTTL(calm))
	for _, p := range peers {
		p.Rec.Reset()
		holds = append(holds, p.take(t, reading, "m"))
		require.Equal(t, tally{writes: 1}, sent(p.Rec), "free, or behind readers")
	}
	for i, h := range holds {
		peers[i].Rec.Reset()
		unlock(t, h)
		require.Equal(t, tally{writes: 1}, sent(peers[i].Rec))
	}
}

func TestWriterOfAFreeLockCostsOneWriteAndOneMoreToLeave(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p := newPeer(t, c, withTTL(calm))
	p.Rec.Reset()
	h := p.take(t, writing, "m")
	require.Equal(t, tally{writes: 1}, sent(p.Rec))
	p.Rec.Reset()
	unlock(t, h)
	require.Equal(t, tally{writes: 1}, sent(p.Rec))
}

func TestWaitingForReadersAndWritersCostsOneWriteOneWatchAndOneRead(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	for what, k := range map[string]struct {
		first, next how
		filters     []pb.WatchCreateRequest_FilterType
	}{
		// A writer's entry that is put again has become a reader's.
		"reader behind a writer": {writing, reading, nil},
		"writer behind a writer": {writing, writing, []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}},
		"writer behind a reader": {reading, writing, []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}},
	} {
		p, holder := waiter(t, c), newPeer(t, c, withTTL(calm))
		h := holder.take(t, k.first, "rw")
		p.Rec.Reset()
		done, e := p.queueUpTo(guarded(t), t, k.next, "rw")
		require.Equal(t, tally{writes: 1, watches: 1}, sent(p.Rec), what)
		w := p.Watches()[0]
		require.Equal(t, h.Key(), w.Key, what)
		require.Equal(t, h.Key(), e.Predecessor, what)
		require.Zero(t, w.Start, what)
		require.Equal(t, k.filters, w.Filters, what)

		p.Rec.Reset()
		unlock(t, h)
		next := granted(t, done)
		require.Equal(t, tally{local: 1}, sent(p.Rec), "%s: the wake-up is one read", what)
		p.Rec.Reset()
		unlock(t, next)
		require.Equal(t, tally{writes: 1}, sent(p.Rec), what)
	}
}

func TestReaderReadsOnceWhenTheStoreMovedBeforeItsWatchBegan(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, holder, operator := waiter(t, c), newPeer(t, c, withTTL(calm)), c.Client(t)
	h := holder.take(t, writing, "rw")
	p.Rec.Reset()
	p.Rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
		if req, ok := msg.(*pb.WatchRequest); ok && d == etcdtest.Send && req.GetCreateRequest() != nil {
			_, err := operator.Put(guarded(t), "somewhere", "else")
			return false, err
		}
		return false, nil
	})
	done, _ := p.queueUpTo(guarded(t), t, reading, "rw")
	p.awaitTally(t, tally{writes: 1, local: 1, watches: 1}, "the read of the predecessor")
	unlock(t, h)
	unlock(t, granted(t, done))
	require.Equal(t, tally{writes: 2, local: 2, watches: 1}, sent(p.Rec))
}

func TestTryRLockAndTryLockCostOneRoundTripAndStoreNothingWhenRefused(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, holder, operator := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Client(t)
	m := p.rwMutex(t, "m")
	for what, k := range map[string]struct {
		held how
		try  tryLock
		free bool
	}{
		"reader, free":            {nil, m.TryRLock, true},
		"writer, free":            {nil, m.TryLock, true},
		"reader behind a reader":  {reading, m.TryRLock, true},
		"reader behind a writer":  {writing, m.TryRLock, false},
		"writer behind a reader":  {reading, m.TryLock, false},
		"writer behind a writer":  {writing, m.TryLock, false},
		"permits, all there":      {nil, tryPermits(p.semaphore(t, "m", 3), 3), true},
		"permits, some there":     {permits(1, 3), tryPermits(p.semaphore(t, "m", 3), 2), true},
		"permits, too few there":  {permits(2, 3), tryPermits(p.semaphore(t, "m", 3), 2), false},
		"multi, free":             {nil, p.multi(t, "m", "n", "o").TryLock, true},
		"multi, one of it locked": {exclusively, p.multi(t, "n", "m", "o").TryLock, false},
	} {
		var h *lock.Hold
		if k.held != nil {
			h = holder.take(t, k.held, "m")
		}
		before := revision(t, operator)
		p.Rec.Reset()
		own, err := k.try(guarded(t))
		want := tally{writes: 1}
		if len(p.Rec.Calls()) > 0 && p.Rec.Count("Range") > 0 { // a semaphore's entries are read first
			want = tally{other: 1}
			if k.free {
				want.writes = 1
			}
		}
		require.Equal(t, want, sent(p.Rec), what)
		if k.free {
			require.NoError(t, err, what)
			unlock(t, own)
		} else {
			require.ErrorIs(t, err, lock.ErrLocked, what)
			require.Equal(t, before, revision(t, operator), "%s: no revision is consumed", what)
		}
		if h != nil {
			unlock(t, h)
		}
	}
}

func TestDowngradeCostsOneWrite(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p := newPeer(t, c, withTTL(calm))
	m := p.rwMutex(t, "m")
	h, err := m.Lock(guarded(t))
	require.NoError(t, err)
	p.Rec.Reset()
	read, err := m.Downgrade(guarded(t), h)
	require.NoError(t, err)
	require.Equal(t, tally{writes: 1}, sent(p.Rec))
	p.Rec.Reset()
	unlock(t, h)
	require.Empty(t, p.Rec.Calls(), "Unlock of what was downgraded")
	unlock(t, read)
	require.Equal(t, tally{writes: 1}, sent(p.Rec))
}
