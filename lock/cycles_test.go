package lock_test

import (
	"context"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/lock"
)

// cyclesVariable sets how often TestCyclesLeaveCostAndKeysWhereTheyWere locks. The
// 100,000 that the package documentation speaks of take half a minute.
const cyclesVariable = "CONCLAVE_LOCK_CYCLES"

// cycles returns for how long to go on, and after how many cycles to stop.
func cycles() (limit time.Duration, n int) {
	if n, err := strconv.Atoi(os.Getenv(cyclesVariable)); err == nil {
		return time.Hour, n
	}
	return 3 * time.Second, suite.Long(1_000, 10_000)
}

// A key that was deleted leaves a tombstone, which every read of its range visits
// until compaction. What keeps the cost of a lock where it is, is that the same few
// keys are used again.
func TestCyclesLeaveCostAndKeysWhereTheyWere(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p := newPeer(t, c, withTTL(calm))
	m := p.mutex(t, "m")
	ctx := t.Context()
	used := make(map[string]bool)
	limit, most := cycles()
	before, start, n := revision(t, p.Client), time.Now(), 0
	p.Rec.Reset()
	for ; n < most && time.Since(start) < limit; n++ {
		h, err := m.Lock(ctx)
		require.NoError(t, err)
		used[h.Key()] = true
		require.NoError(t, h.Unlock(ctx))
		if n%100 == 99 { // and keep the recorder small
			require.Equal(t, 200, sent(p.Rec).writes)
			p.Rec.Reset()
		}
	}
	t.Logf("%d cycles", n)
	require.Len(t, used, 1)
	require.Equal(t, before+int64(2*n), revision(t, p.Client))
	require.Zero(t, keysNow(t, p.Client, "m/"))
}

func keysNow(t *testing.T, client *clientv3.Client, prefix string) int {
	t.Helper()
	resp, err := client.Get(guarded(t), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(t, err)
	return int(resp.Count)
}

// keysEver returns how many keys under prefix the history knows.
func keysEver(t *testing.T, client *clientv3.Client, prefix string) int {
	t.Helper()
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	last := put(t, client, prefix+"last", "")
	ever := make(map[string]bool)
	for resp := range client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(1)) {
		require.NoError(t, resp.Err())
		for _, e := range resp.Events {
			if e.Kv.ModRevision == last {
				remove(t, client, prefix+"last")
				return len(ever)
			}
			ever[string(e.Kv.Key)] = true
		}
	}
	require.FailNow(t, "the watch ended")
	return 0
}

func TestContendedAndCancelledCyclesUseTheSameFewKeys(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, q := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm))
	h := p.lock(t, "m")
	for range suite.Long(20, 50) {
		ctx, cancel := context.WithCancel(guarded(t))
		cancelled, _ := q.queueUp(ctx, t, "m")
		done, _ := q.queueUp(guarded(t), t, "m")
		cancel()
		require.ErrorIs(t, await(t, cancelled, "Lock returns").err, context.Canceled)
		unlock(t, h)
		h = granted(t, done)
		p, q = q, p
	}
	unlock(t, h)
	// Each peer needs two. A third, while one that was given up is on its way out.
	require.LessOrEqual(t, keysEver(t, p.Client, "m/"), 2*4)
}

func TestRequestsCancelledOnTheirWayBlockNobody(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	// No regular look comes to help within the guard.
	peers, name := newPeers(t, c, 3, withTTL(5*time.Minute)), c.Prefix(t)+"m"
	began := time.Now()
	var wg sync.WaitGroup
	for _, p := range peers {
		m := p.mutex(t, name)
		for i := range 3 {
			wg.Go(func() {
				for range suite.Long(20, 60) {
					ctx, cancel := context.WithCancel(guarded(t))
					if i == 0 { // this one gives up at a random moment
						go cancel()
					}
					err := m.Do(ctx, func(context.Context, *lock.Hold) error { return nil })
					cancel()
					if i != 0 && err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	require.Less(t, time.Since(began), 100*time.Second, "no look had to help")
	awaitQueue(t, peers[0].Client, name, 0)
}
