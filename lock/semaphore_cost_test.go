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
		p.Rec.Reset()
		h := p.take(t, permits(i+1, 6), "m")
		require.Equal(t, tally{writes: 1}, sent(p.Rec), "free, or with others")
		p.Rec.Reset()
		unlock(t, h)
		require.Equal(t, tally{writes: 1}, sent(p.Rec))
		p.take(t, permits(i+1, 6), "m")
	}
}

func TestWaitingForPermitsCostsOneWriteOneWatchOneReadAndOneMark(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, q, holder := waiter(t, c), waiter(t, c), newPeer(t, c, withTTL(calm))
	first, second := holder.take(t, permits(2, 3), "s"), holder.take(t, permits(1, 3), "s")
	p.Rec.Reset()
	head, headEntry := p.queueUpTo(guarded(t), t, permits(1, 3), "s")
	require.Equal(t, tally{writes: 1, watches: 1}, sent(p.Rec), "the first who waits")
	w := p.Watches()[0]
	require.Equal(t, "s/~semaphore/3/", w.Key, "it watches for any to go")
	require.Equal(t, []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}, w.Filters)

	q.Rec.Reset()
	behind, _ := q.queueUpTo(guarded(t), t, permits(1, 3), "s")
	require.Equal(t, tally{writes: 1, watches: 1}, sent(q.Rec), "the second")
	w = q.Watches()[0]
	require.Equal(t, headEntry.Key, w.Key, "it watches the one before it")
	require.Empty(t, w.Filters, "for its mark, too")

	p.Rec.Reset()
	q.Rec.Reset()
	unlock(t, second)
	third := granted(t, head)
	p.awaitTally(t, tally{local: 1, writes: 1}, "one read, and one mark")
	q.awaitTally(t, tally{local: 1, watches: 1}, "it has become the first")
	q.awaitWatching(t, 1) // else what follows happens before the watch begins, which costs a read more
	stillWaits(t, behind)

	q.Rec.Reset()
	unlock(t, first)
	unlock(t, granted(t, behind))
	q.awaitTally(t, tally{local: 1, writes: 2}, "one read, one mark, one removal")
	unlock(t, third)
}
