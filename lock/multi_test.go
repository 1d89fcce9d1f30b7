package lock_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/lock"
)

func TestNewMultiRefusesBadNames(t *testing.T) {
	t.Parallel()
	p := newPeer(t, etcdtest.New(t), withTTL(calm))
	p.Rec.Reset()
	for _, bad := range []struct {
		names []string
		want  string
	}{
		{nil, "lock: 0 names: must be from 1 to 64"},
		{[]string{}, "lock: 0 names: must be from 1 to 64"},
		{manyNames("", 65), "lock: 65 names: must be from 1 to 64"},
		{[]string{"a", "b", "a"}, `lock: name "a" is given twice: names must be different`},
		{[]string{"a", "b/"}, `lock: name "b/": must not end with a slash`},
		{[]string{"a", ""}, "lock: name is empty: must be at least one byte"},
	} {
		_, err := lock.NewMulti(p.Session, bad.names)
		require.EqualError(t, err, bad.want)
	}
	require.Empty(t, p.Rec.Calls())
}

func TestMultiKeepsItsNamesWhateverBecomesOfTheCallers(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, names := newPeer(t, c, withTTL(calm)), manyNames(c.Prefix(t), 2)
	m := p.multi(t, names...)
	taken := names[1]
	names[1] = "something else"
	other := p.lock(t, taken)
	_, err := m.TryLock(guarded(t))
	var locked *lock.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, taken, locked.Name)
	unlock(t, other)
}

func TestMultiExcludesMutexesOfItsNames(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for _, n := range []int{1, 3, suite.Long(10, lock.MaxNames)} {
		p, q, names := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), manyNames(c.Prefix(t), n)
		m := p.multi(t, names...)
		h, err := m.TryLock(guarded(t))
		require.NoError(t, err)
		require.Len(t, h.Guard(), n)
		for _, name := range names {
			_, err := q.mutex(t, name).TryLock(guarded(t))
			require.ErrorIs(t, err, lock.ErrLocked)
			entries := queueOf(t, q.Client, name)
			require.Len(t, entries, 1)
			require.Equal(t, h.Token(), entries[0].Token, "one revision in every queue")
			require.Equal(t, lock.ModeMutex, entries[0].Mode)
		}
		waits, _ := q.queueUpTo(guarded(t), t, exclusively, names[n-1])
		unlock(t, h)
		unlock(t, granted(t, waits))

		for _, name := range names {
			held := q.lock(t, name)
			_, err := m.TryLock(guarded(t))
			var locked *lock.LockedError
			require.ErrorAs(t, err, &locked)
			require.Equal(t, name, locked.Name, "the one that is taken")
			require.Equal(t, held.Key(), locked.Key)
			unlock(t, held)
		}
		unlock(t, p.take(t, func(ctx context.Context, _ *peer, _ string) (*lock.Hold, error) { return m.Lock(ctx) }, ""))
	}
}

func TestMultiWaitsForEachOfItsNames(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, q, names := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), manyNames(c.Prefix(t), 4)
	var held []*lock.Hold
	for _, name := range names[1:] {
		held = append(held, q.lock(t, name))
	}
	m := p.multi(t, names...)
	done := make(chan outcome, 1)
	go func() {
		h, err := m.Lock(guarded(t))
		done <- outcome{h, err}
	}()
	e := await(t, p.Waiting, "it waits")
	require.Equal(t, held[0].Key(), e.Predecessor)
	for i, name := range names {
		_, err := q.mutex(t, name).TryLock(guarded(t))
		require.ErrorIs(t, err, lock.ErrLocked, "it stands in every queue, number %d too", i)
	}
	for _, i := range []int{1, 2, 0} {
		stillWaits(t, done)
		unlock(t, held[i])
	}
	h := granted(t, done)
	require.Equal(t, e.Revision, h.Token().Revision(), "its place was kept")
	unlock(t, h)
	for _, name := range names {
		require.Empty(t, queueOf(t, q.Client, name))
	}
}

func TestMultisTransactionTakesEffectOnlyWhileAllOfItIsHeld(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator := c.Client(t)
	for i := range 3 {
		t.Run(fmt.Sprintf("name %d lost", i), func(t *testing.T) {
			t.Parallel()
			p, q, names := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), manyNames(c.Prefix(t), 3)
			h, err := p.multi(t, names...).Lock(guarded(t))
			require.NoError(t, err)
			k := names[0] + "-data"
			_, err = h.Txn(guarded(t)).Then(clientv3.OpPut(k, "1")).Commit()
			require.NoError(t, err)
			remove(t, operator, queueOf(t, operator, names[i])[0].Key)
			_, err = h.Txn(guarded(t)).Then(clientv3.OpPut(k, "2")).Commit()
			require.ErrorIs(t, err, lock.ErrLost)
			require.Equal(t, "1", string(get(t, operator, k).Value))
			lost(t, h)
			// It is lost as a whole: the other locks are given up, too.
			for _, name := range names {
				unlock(t, q.lock(t, name))
			}
			require.ErrorIs(t, h.Unlock(guarded(t)), lock.ErrLost)
		})
	}
}

func TestUnlockOfAMultiThatHasLostAKeySaysSoAndReleasesTheRest(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator := c.Client(t)
	for i := range 3 {
		p, names := newPeer(t, c, withTTL(calm)), manyNames(c.Prefix(t), 3)
		h, err := p.multi(t, names...).Lock(guarded(t))
		require.NoError(t, err)
		key := queueOf(t, operator, names[i])[0].Key
		remove(t, operator, key)
		put(t, operator, key, "somebody else")
		require.ErrorIs(t, h.Unlock(guarded(t)), lock.ErrLost)
		require.NotNil(t, get(t, operator, key), "nobody else's key is deleted")
		remove(t, operator, key)
		for _, name := range names {
			require.Empty(t, queueOf(t, operator, name))
		}
		h, err = p.multi(t, names...).TryLock(guarded(t))
		require.NoError(t, err)
		unlock(t, h)
	}
}

func TestMultiIsLostAsAWholeAtTheNextLook(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator := c.Client(t)
	for i := range 3 {
		t.Run(fmt.Sprintf("name %d deleted", i), func(t *testing.T) {
			t.Parallel()
			p, q, names := newPeer(t, c, withTTL(unhurried)), newPeer(t, c, withTTL(calm)), manyNames(c.Prefix(t), 3)
			h, err := p.multi(t, names...).Lock(guarded(t))
			require.NoError(t, err)
			other := (i + 1) % 3
			waits, _ := q.queueUpTo(guarded(t), t, exclusively, names[other])
			remove(t, operator, queueOf(t, operator, names[i])[0].Key)
			unlock(t, granted(t, waits))
			lost(t, h)
			for _, name := range names {
				awaitQueue(t, operator, name, 0)
			}
		})
	}
}

func TestMultiThatLosesAKeyWhileItWaitsQueuesAgainWithAll(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator := c.Client(t)
	for i := range 3 {
		t.Run(fmt.Sprintf("name %d deleted", i), func(t *testing.T) {
			t.Parallel()
			p, holder, names := newPeer(t, c, withTTL(unhurried)), newPeer(t, c, withTTL(calm)), manyNames(c.Prefix(t), 3)
			h := holder.lock(t, names[1])
			m := p.multi(t, names...)
			done := make(chan outcome, 1)
			go func() {
				h, err := m.Lock(guarded(t))
				done <- outcome{h, err}
			}()
			e := await(t, p.Waiting, "it waits")
			entries := queueOf(t, operator, names[i])
			remove(t, operator, entries[len(entries)-1].Key)
			p.hurry(t)
			again := await(t, p.Waiting, "it queues again")
			require.Greater(t, again.Revision, e.Revision)
			for _, name := range names { // the old entries may be on their way out
				eventually(t, func() bool {
					entries := queueOf(t, operator, name)
					if len(entries) == 0 {
						return false
					}
					last := entries[len(entries)-1]
					return last.Token.Revision() == again.Revision && (len(entries) == 1 || name == names[1] && len(entries) == 2)
				}, "one entry in queue %q, of one revision", name)
			}
			unlock(t, h)
			next := granted(t, done)
			require.Equal(t, again.Revision, next.Token().Revision())
			unlock(t, next)
		})
	}
}
