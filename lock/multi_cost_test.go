package lock_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lock"
)

// manyNames returns n different names.
func manyNames(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%sm%d", prefix, i)
	}
	return names
}

func TestMultiOfAnyNumberOfFreeLocksCostsOneWriteAndOneMoreToUnlock(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p := newPeer(t, c, withTTL(calm))
	for _, n := range []int{1, 2, 8, lock.MaxNames} {
		m := p.multi(t, manyNames("", n)...)
		before := revision(t, p.Client)
		p.Rec.Reset()
		h, err := m.Lock(guarded(t))
		require.NoError(t, err)
		require.Equal(t, tally{writes: 1}, sent(p.Rec), "%d names", n)
		require.Equal(t, before+1, revision(t, p.Client), "%d names in one revision", n)
		p.Rec.Reset()
		unlock(t, h)
		require.Equal(t, tally{writes: 1}, sent(p.Rec), "%d names", n)
		require.Equal(t, before+2, revision(t, p.Client), "%d names", n)
	}
}

func TestMultiThatWaitsForOneLockCostsWhatAMutexDoes(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, holder := waiter(t, c), newPeer(t, c, withTTL(calm))
	h := holder.take(t, exclusively, "b")
	m := p.multi(t, "a", "b", "c")
	p.Rec.Reset()
	done := make(chan outcome, 1)
	go func() {
		h, err := m.Lock(guarded(t))
		done <- outcome{h, err}
	}()
	await(t, p.Waiting, "it waits")
	p.awaitTally(t, tally{writes: 1, watches: 1}, "it waits")
	p.awaitWatching(t, 1)
	require.Equal(t, h.Key(), p.Watches()[0].Key)
	p.Rec.Reset()
	unlock(t, h)
	next := granted(t, done)
	require.Equal(t, tally{local: 1}, sent(p.Rec), "the wake-up is one read")
	unlock(t, next)
}

func TestMultiThatWaitsForOneHolderOfAllItsLocksIsWokenByOneRead(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	p, holder, names := waiter(t, c), newPeer(t, c, withTTL(calm)), manyNames("", 8)
	h, err := holder.multi(t, names...).Lock(guarded(t))
	require.NoError(t, err)
	m := p.multi(t, names...)
	p.Rec.Reset()
	done := make(chan outcome, 1)
	go func() {
		h, err := m.Lock(guarded(t))
		done <- outcome{h, err}
	}()
	await(t, p.Waiting, "it waits")
	p.awaitWatching(t, 1)
	require.Equal(t, tally{writes: 1, watches: 1}, sent(p.Rec))
	p.Rec.Reset()
	unlock(t, h)
	next := granted(t, done)
	require.Equal(t, tally{local: 1}, sent(p.Rec))
	unlock(t, next)
}
