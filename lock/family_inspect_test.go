package lock_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lock"
)

// shown is what Inspect shows of an entry, besides what tests of Mutex look at.
type shown struct {
	owner           string
	mode            lock.Mode
	weight, permits int
	position        int
}

// show returns what Inspect shows, and requires the rest to be true.
func show(t *testing.T, p *peer, name string) (all []shown) {
	t.Helper()
	for _, e := range queueOf(t, p.Client, name) {
		kv := get(t, p.Client, e.Key)
		require.Equal(t, kv.CreateRevision, e.Token.Revision())
		require.Equal(t, clientv3.LeaseID(kv.Lease), e.Lease)
		require.Equal(t, e.Position == 0, e.Held())
		require.WithinRange(t, e.Since, time.Now().Add(-guard), time.Now())
		require.Positive(t, e.TTL)
		require.LessOrEqual(t, e.TTL, calm)
		all = append(all, shown{e.Owner, e.Mode, e.Weight, e.Permits, e.Position})
	}
	return all
}

func TestInspectShowsAllKindsOfOneName(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	ctx, cancel := context.WithCancel(guarded(t))
	as := func(owner string) lock.Option { return lock.WithOwner(owner) }
	n := 0
	var waiting []<-chan outcome
	// call acquires, and waits until it is in the queue.
	call := func(owner string, acquire func(context.Context) (*lock.Hold, error)) {
		done := make(chan outcome, 1)
		go func() {
			h, err := acquire(ctx)
			done <- outcome{h, err}
		}()
		waiting = append(waiting, done)
		n++
		awaitQueue(t, p.Client, name, n)
		entries := queueOf(t, p.Client, name)
		owners := make([]string, len(entries))
		for i, e := range entries {
			owners[i] = e.Owner
		}
		require.Contains(t, owners, owner)
	}
	semaphore := func(owner string, permits int) {
		s := p.semaphore(t, name, 4, as(owner))
		call(owner, func(ctx context.Context) (*lock.Hold, error) { return s.Acquire(ctx, permits) })
	}
	semaphore("s1", 3)
	call("r1", p.rwMutex(t, name, as("r1")).RLock)
	call("m1", p.mutex(t, name, as("m1")).Lock)
	call("r2", p.rwMutex(t, name, as("r2")).RLock)
	call("w1", p.rwMutex(t, name, as("w1")).Lock)
	semaphore("s2", 1)
	call("r3", p.rwMutex(t, name, as("r3")).RLock)
	both, err := lock.NewMulti(p.Session, []string{name, name + "/inner"}, as("m2"))
	require.NoError(t, err)
	call("m2", both.Lock)
	semaphore("s3", 4)
	semaphore("s4", 1)
	call("w2", p.rwMutex(t, name, as("w2")).Lock)

	require.Equal(t, []shown{
		{"m1", lock.ModeMutex, 0, 0, 0},
		{"m2", lock.ModeMutex, 0, 0, 1},
		{"r1", lock.ModeRead, 0, 0, 0},
		{"r2", lock.ModeRead, 0, 0, 0},
		{"w1", lock.ModeWrite, 0, 0, 1},
		{"r3", lock.ModeRead, 0, 0, 2},
		{"w2", lock.ModeWrite, 0, 0, 3},
		{"s1", lock.ModeSemaphore, 3, 4, 0},
		{"s2", lock.ModeSemaphore, 1, 4, 0},
		{"s3", lock.ModeSemaphore, 4, 4, 1},
		{"s4", lock.ModeSemaphore, 1, 4, 2},
	}, show(t, p, name))
	require.Equal(t, []shown{{"m2", lock.ModeMutex, 0, 0, 0}}, show(t, p, name+"/inner"), "a lock in it is another lock")
	require.Empty(t, queueOf(t, p.Client, name+"/i"))
	cancel()
	for _, done := range waiting {
		if o := await(t, done, "it returns"); o.err == nil {
			unlock(t, o.hold)
		}
	}
	awaitQueue(t, p.Client, name, 0)
}

func TestInspectShowsTheOneWhoDowngradedAsAReader(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m := p.rwMutex(t, name, lock.WithOwner("me"))
	h := written(t, m)
	reader, _ := p.queueUpTo(guarded(t), t, reading, name)
	require.Equal(t, shown{"me", lock.ModeWrite, 0, 0, 0}, show(t, p, name)[0])
	require.Equal(t, 1, show(t, p, name)[1].position)
	read, err := m.Downgrade(guarded(t), h)
	require.NoError(t, err)
	require.Equal(t, shown{"me", lock.ModeRead, 0, 0, 0}, show(t, p, name)[0])
	require.Equal(t, 0, show(t, p, name)[1].position)
	unlock(t, read)
	unlock(t, granted(t, reader))
}

func TestInspectShowsNothingOfElectionsAndOfLocksWhoseNamesExtendItsOwn(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"a"
	put(t, p.Client, name+"/~election/694d82", `{"owner":"candidate"}`)
	put(t, p.Client, name+"/~something else/1", `{}`)
	for _, how := range []how{exclusively, reading, permits(1, 2)} {
		h := p.take(t, how, name+"/b")
		require.Empty(t, queueOf(t, p.Client, name))
		require.Len(t, queueOf(t, p.Client, name+"/b"), 1)
		unlock(t, h)
		h = p.take(t, how, name)
		require.Len(t, queueOf(t, p.Client, name), 1)
		require.Empty(t, queueOf(t, p.Client, name+"/b"))
		unlock(t, h)
	}
}

func TestInspectShowsTheTTLThatIsLeft(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, other, name := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(unhurried)), c.Prefix(t)+"m"
	mine, theirs := p.take(t, reading, name), other.take(t, reading, name)
	for range 3 {
		p.take(t, reading, name)
	}
	put(t, p.Client, name+"/~rwmutex/r/by hand", "", clientv3.WithLease(0))
	var entries []lock.Entry
	eventually(t, func() bool { // what is late is asked again
		p.Rec.Reset()
		entries = queueOf(t, p.Client, name)
		return maps.Equal(map[string]int{"Range": 1, "LeaseTimeToLive": 2}, p.Rec.Counts())
	}, "one question for each lease")
	require.Len(t, entries, 6)
	ttls := map[string]time.Duration{}
	for _, e := range entries {
		ttls[e.Key] = e.TTL
	}
	require.Greater(t, ttls[mine.Key()], unhurried)
	require.Positive(t, ttls[theirs.Key()])
	require.LessOrEqual(t, ttls[theirs.Key()], unhurried)
	require.Zero(t, ttls[name+"/~rwmutex/r/by hand"])
}
