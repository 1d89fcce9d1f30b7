package concurrency_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	official "go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
)

// mutex and candidate are what the two libraries have in common.
type mutex interface {
	Lock(ctx context.Context) error
	TryLock(ctx context.Context) error
	Unlock(ctx context.Context) error
	Key() string
}

type candidate interface {
	Campaign(ctx context.Context, val string) error
	Proclaim(ctx context.Context, val string) error
	Resign(ctx context.Context) error
	Leader(ctx context.Context) (*clientv3.GetResponse, error)
	Observe(ctx context.Context) <-chan *clientv3.GetResponse
	Key() string
}

// contender is a process with either library.
type contender struct {
	name      string
	mutex     func(pfx string) mutex
	candidate func(pfx string) candidate
	waiting   func(t *testing.T, do func() error) <-chan error
}

func newOurs(t *testing.T, c *etcdtest.Cluster) contender {
	t.Helper()
	m := newMember(t, c)
	return contender{
		"ours",
		func(pfx string) mutex { return concurrency.NewMutex(m.Session, pfx) },
		func(pfx string) candidate { return concurrency.NewElection(m.Session, pfx) },
		m.waiting,
	}
}

func newTheirs(t *testing.T, c *etcdtest.Cluster) contender {
	t.Helper()
	rec := &etcdtest.Recorder{}
	s, err := official.NewSession(c.Client(t, etcdtest.WithRecorder(rec)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return contender{
		"theirs",
		func(pfx string) mutex { return official.NewMutex(s, pfx) },
		func(pfx string) candidate { return official.NewElection(s, pfx) },
		func(t *testing.T, do func() error) <-chan error {
			t.Helper()
			before := len(peertest.WatchesIn(rec))
			done := soon(do)
			eventually(t, func() bool {
				all := peertest.WatchesIn(rec)
				return len(all) > before && all[len(all)-1].Created != 0
			}, "they wait")
			return done
		},
	}
}

// fleets are the orders in which members with either library come.
func fleets(t *testing.T, c *etcdtest.Cluster) map[string][]contender {
	t.Helper()
	ours, theirs := newOurs, newTheirs
	all := make(map[string][]contender)
	for _, fleet := range [][]func(*testing.T, *etcdtest.Cluster) contender{
		{theirs, ours, theirs, ours}, {ours, theirs, ours, theirs}, {theirs, theirs, ours, ours}, {ours, ours, theirs, theirs},
	} {
		var members []contender
		var name string
		for _, start := range fleet {
			member := start(t, c)
			members = append(members, member)
			name += member.name + " "
		}
		all[name] = members
	}
	return all
}

func TestMixedFleetsLockInOrder(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, members := range fleets(t, c) {
		for _, suffix := range []string{"m", "/my-lock/"} {
			name := c.Prefix(t) + what + suffix
			held := members[0].mutex(name)
			require.NoError(t, held.Lock(guarded(t)), what)
			var locks []mutex
			var done []<-chan error
			for _, member := range members[1:] {
				m := member.mutex(name)
				require.Contains(t, []error{concurrency.ErrLocked, official.ErrLocked}, m.TryLock(guarded(t)), what)
				locks, done = append(locks, m), append(done, member.waiting(t, func() error { return m.Lock(guarded(t)) }))
			}
			for i, next := range locks {
				for _, pending := range done[i:] {
					requirePending(t, pending)
				}
				require.NoError(t, held.Unlock(guarded(t)), what)
				requireSuccess(t, done[i])
				held = next
			}
			require.NoError(t, held.Unlock(guarded(t)), what)
		}
	}
}

func TestMixedFleetsElectInOrderAndObserveAlike(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, members := range fleets(t, c) {
		name := c.Prefix(t) + what + "e"
		ctx, cancel := context.WithCancel(guarded(t))
		var watchers []<-chan *clientv3.GetResponse
		for _, member := range members {
			watchers = append(watchers, member.candidate(name).Observe(ctx))
		}
		requireLeader := func(e candidate, value string) {
			t.Helper()
			for _, seen := range watchers {
				require.Equal(t, e.Key(), string(requireSeen(t, seen, value).Kvs[0].Key), what)
			}
			for _, member := range members {
				resp, err := member.candidate(name).Leader(ctx)
				require.NoError(t, err)
				require.Equal(t, value, string(resp.Kvs[0].Value), what)
			}
		}
		leads := members[0].candidate(name)
		require.NoError(t, leads.Campaign(ctx, "0"))
		var all []candidate
		var done []<-chan error
		for i, member := range members[1:] {
			e := member.candidate(name)
			all, done = append(all, e), append(done, member.waiting(t, func() error { return e.Campaign(ctx, fmt.Sprint(i+1)) }))
		}
		requireLeader(leads, "0")
		for i, next := range all {
			require.NoError(t, leads.Proclaim(ctx, fmt.Sprint("bye ", i)))
			requireLeader(leads, fmt.Sprint("bye ", i))
			for _, pending := range done[i:] {
				requirePending(t, pending)
			}
			require.NoError(t, leads.Resign(ctx))
			requireSuccess(t, done[i])
			requireLeader(next, fmt.Sprint(i+1))
			leads = next
		}
		require.NoError(t, leads.Resign(ctx))
		cancel()
	}
}

func TestMixedFleetsExclude(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	const rounds = 8
	var inside, visits atomic.Int64
	visit := func() {
		if inside.Add(1) != 1 {
			t.Error("two are inside")
		}
		visits.Add(1)
		runtime.Gosched()
		inside.Add(-1)
	}
	members := slices.Concat([]contender{newOurs(t, c), newOurs(t, c), newOurs(t, c)}, []contender{newTheirs(t, c), newTheirs(t, c), newTheirs(t, c)})
	var wg sync.WaitGroup
	for i, member := range members {
		wg.Go(func() {
			m, e := member.mutex(name), member.candidate(name) // one prefix, so one queue
			for n := range rounds {
				take, give := func(ctx context.Context) error { return m.Lock(ctx) }, m.Unlock
				if (i+n)%2 == 0 {
					take, give = func(ctx context.Context) error { return e.Campaign(ctx, member.name) }, e.Resign
				}
				if err := take(guarded(t)); err != nil {
					t.Error(err)
					return
				}
				visit()
				if err := give(guarded(t)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, len(members)*rounds, visits.Load())
}
