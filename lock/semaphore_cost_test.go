package lock_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

func TestPermitsThatAreThereCostOneWriteEachAndOneMoreToGiveBack(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	for i, p := range newPeers(t, c, 3, withTTL(calm)) {
		p.rec.Reset()
		h := p.take(t, permits(i+1, 6), "m")
		require.Equal(t, tally{writes: 1}, sent(p.rec), "free, or with others")
		p.rec.Reset()
		unlock(t, h)
		require.Equal(t, tally{writes: 1}, sent(p.rec))
		p.take(t, permits(i+1, 6), "m")
	}
}

func TestWaitingForPermitsCostsOneWriteOneWatchOneReadAndOneMark(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, q, holder := waiter(t, c), waiter(t, c), newPeer(t, c, withTTL(calm))
	first, second := holder.take(t, permits(2, 3), "s"), holder.take(t, permits(1, 3), "s")
	p.rec.Reset()
	head, headEntry := p.queueUpTo(guarded(t), t, permits(1, 3), "s")
	require.Equal(t, tally{writes: 1, watches: 1}, sent(p.rec), "the first who waits")
	w := watches(p.rec)[0]
	require.Equal(t, "s/~semaphore/3/", w.key, "it watches for any to go")
	require.Equal(t, []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}, w.filters)

	q.rec.Reset()
	behind, _ := q.queueUpTo(guarded(t), t, permits(1, 3), "s")
	require.Equal(t, tally{writes: 1, watches: 1}, sent(q.rec), "the second")
	w = watches(q.rec)[0]
	require.Equal(t, headEntry.Key, w.key, "it watches the one before it")
	require.Empty(t, w.filters, "for its mark, too")

	p.rec.Reset()
	q.rec.Reset()
	unlock(t, second)
	third := granted(t, head)
	p.awaitTally(t, tally{local: 1, writes: 1}, "one read, and one mark")
	q.awaitTally(t, tally{local: 1, watches: 1}, "it has become the first")
	q.awaitWatching(t, 1) // else what follows happens before the watch begins, which costs a read more
	stillWaits(t, behind)

	q.rec.Reset()
	unlock(t, first)
	unlock(t, granted(t, behind))
	q.awaitTally(t, tally{local: 1, writes: 2}, "one read, one mark, one removal")
	unlock(t, third)
}
