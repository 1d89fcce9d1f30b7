package lease_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

const (
	// perLease is how many locks a lease carries before the session takes another.
	perLease  = 256
	spreadTTL = 9 * time.Second
)

// spread is a session that holds many locks, in virtual time.
type spread struct {
	t        *testing.T
	server   *vtime.Server
	client   *clientv3.Client
	session  *lease.Session
	observer *clientv3.Client

	mu      sync.Mutex
	renewed map[clientv3.LeaseID]int
	next    int // numbers the locks
}

func newSpread(t *testing.T, s *vtime.Server) *spread {
	t.Helper()
	x := &spread{t: t, server: s, client: s.Client(), observer: s.Client(), renewed: make(map[clientv3.LeaseID]int)}
	var err error
	x.session, err = lease.NewSession(t.Context(), x.client, lease.WithTTL(spreadTTL), lease.WithObserver(lease.Observer{
		Renewed: func(l *lease.Lease, _ time.Duration) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.renewed[l.ID()]++
		},
	}))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, x.session.Close(context.WithoutCancel(t.Context()))) })
	return x
}

// lock takes n new locks.
func (x *spread) lock(n int) (holds []*lock.Hold) {
	x.t.Helper()
	for range n {
		m, err := lock.NewMutex(x.session, fmt.Sprintf("locks/%d", x.next))
		require.NoError(x.t, err)
		x.next++
		h, err := m.Lock(x.t.Context())
		require.NoError(x.t, err)
		holds = append(holds, h)
	}
	return holds
}

func (x *spread) unlock(holds []*lock.Hold) {
	x.t.Helper()
	for _, h := range holds {
		require.NoError(x.t, h.Unlock(x.t.Context()))
	}
}

// carried returns how many keys each lease of the server has, by ID, and the IDs from the oldest on.
func (x *spread) carried() (keys map[clientv3.LeaseID]int, oldest []clientv3.LeaseID) {
	x.t.Helper()
	keys = make(map[clientv3.LeaseID]int)
	all, err := x.observer.Leases(x.t.Context())
	require.NoError(x.t, err)
	for _, l := range all.Leases {
		keys[l.ID] = 0
	}
	resp, err := x.observer.Get(x.t.Context(), "", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	require.NoError(x.t, err)
	for _, kv := range resp.Kvs {
		id := clientv3.LeaseID(kv.Lease)
		if keys[id]++; !slices.Contains(oldest, id) {
			oldest = append(oldest, id)
		}
	}
	return keys, oldest
}

// counts returns how many keys the leases have, from the oldest on; those without are not counted.
func (x *spread) counts() (counts []int) {
	x.t.Helper()
	keys, oldest := x.carried()
	for _, id := range oldest {
		counts = append(counts, keys[id])
	}
	return counts
}

func TestManyLocksAreSpreadOverLeasesAndEachIsRenewed(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		x := newSpread(t, s)
		x.lock(perLease)
		require.Equal(t, []int{perLease}, x.counts())
		holds := x.lock(perLease + 10)
		require.Equal(t, []int{perLease, perLease, 10}, x.counts())
		vtime.Advance(10 * spreadTTL)
		keys, _ := x.carried()
		require.Len(t, keys, 3)
		x.mu.Lock()
		defer x.mu.Unlock()
		for id := range keys {
			require.InDelta(t, 30, x.renewed[id], 2, "once a third of a TTL")
		}
		for _, h := range holds {
			require.NoError(t, h.Err())
		}
	})
}

func TestTheLossOfOneOfSeveralLeasesLosesItsLocksOnly(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		x := newSpread(t, s)
		groups := [][]*lock.Hold{x.lock(perLease), x.lock(perLease), x.lock(10)}
		_, oldest := x.carried()
		for i, id := range oldest {
			_, err := x.observer.Revoke(t.Context(), id)
			require.NoError(t, err)
			vtime.Advance(spreadTTL)
			for j, group := range groups {
				for _, h := range group {
					if j > i {
						require.NoError(t, h.Err())
					} else {
						require.ErrorIs(t, h.Err(), lease.ErrLost)
					}
				}
			}
			// The others, and what comes after, go on as before.
			x.unlock(x.lock(1))
		}
	})
}

func TestNewLocksGoToTheOldestLeaseWithRoomAndAnEmptyLastOneIsClosed(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		x := newSpread(t, s)
		first, second, third := x.lock(perLease), x.lock(perLease), x.lock(10)
		x.unlock(first[:5])
		x.unlock(second[:5])
		x.lock(7)
		require.Equal(t, []int{perLease, perLease - 3, 10}, x.counts())

		x.unlock(third)
		x.lock(1)
		keys, _ := x.carried()
		require.Len(t, keys, 3, "it will be needed soon")
		const given = 150
		x.unlock(first[5 : 5+given])
		x.lock(1)
		synctest.Wait()
		keys, _ = x.carried()
		require.Len(t, keys, 2, "the empty one is revoked")
		require.Equal(t, []int{perLease - given + 1, perLease - 2}, x.counts())
		for _, h := range slices.Concat(first[5+given:], second[5:]) {
			require.NoError(t, h.Err())
		}
		x.lock(given - 1 + 2 + 1)
		require.Equal(t, []int{perLease, perLease, 1}, x.counts())
	})
}

func TestARegistrationStaysOnItsLeaseWhenLocksComeAndGo(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		for _, first := range []bool{true, false} {
			x := newSpread(t, s)
			var r *lease.Registration
			var err error
			if first {
				r, err = lease.Register(t.Context(), x.session, "registered", "v")
				require.NoError(t, err)
			}
			many := x.lock(perLease + 10)
			if !first {
				r, err = lease.Register(t.Context(), x.session, "registered", "v")
				require.NoError(t, err)
			}
			events := x.observer.Watch(t.Context(), "registered", clientv3.WithCreatedNotify())
			<-events
			x.unlock(many)
			for range 3 {
				x.unlock(x.lock(1))
				vtime.Advance(spreadTTL)
			}
			require.NoError(t, r.Err())
			require.Empty(t, events, "it was not put again")
			require.NoError(t, r.Close(t.Context()))
		}
	})
}

func TestTheSessionsLeaseIsOneOfSeveralAndStaysValid(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		x := newSpread(t, s)
		many := x.lock(perLease + 10)
		l, err := x.session.Lease(t.Context())
		require.NoError(t, err)
		_, err = x.client.Put(t.Context(), "mine", "v", clientv3.WithLease(l.ID()))
		require.NoError(t, err)
		x.unlock(many)
		for range 3 {
			x.unlock(x.lock(1))
			vtime.Advance(spreadTTL)
		}
		require.NoError(t, l.Err(), "who was given it may rely on it")
		resp, err := x.observer.Get(t.Context(), "mine")
		require.NoError(t, err)
		require.Len(t, resp.Kvs, 1)
	})
}

func TestClosingASessionEndsAllItsLeases(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		x := newSpread(t, s)
		holds := x.lock(2*perLease + 1)
		require.NoError(t, x.session.Close(t.Context()))
		keys, _ := x.carried()
		require.Empty(t, keys)
		for _, h := range holds {
			require.ErrorIs(t, h.Err(), lease.ErrClosed)
			require.ErrorIs(t, h.Err(), lock.ErrLost)
		}
		_, err := inside.Of(x.session).Roomy(t.Context())
		require.ErrorIs(t, err, lease.ErrClosed)
	})
}

func TestTwoThousandLocksAtOnceAreSpreadEvenly(t *testing.T) {
	t.Parallel()
	const workers = 16
	locks := suite.Long(600, 2000) // several leases full
	c := etcdtest.New(t)
	s, prefix := newSession(t, c.Client(t), lease.WithTTL(calm)), c.Prefix(t)
	var next atomic.Int64
	holds := make([]*lock.Hold, locks)
	each := func(do func(i int64) error) {
		next.Store(0)
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				for i := next.Add(1) - 1; i < int64(locks); i = next.Add(1) - 1 {
					if err := do(i); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	}
	each(func(i int64) error {
		m, err := lock.NewMutex(s, fmt.Sprintf("%s%d", prefix, i))
		if err == nil {
			holds[i], err = m.Lock(guarded(t))
		}
		return err
	})
	op := newOperator(t, c)
	resp, err := op.Get(guarded(t), prefix, clientv3.WithPrefix())
	require.NoError(t, err)
	carried := make(map[int64]int)
	for _, kv := range resp.Kvs {
		carried[kv.Lease]++
	}
	require.Len(t, carried, (locks+perLease-1)/perLease)
	for _, n := range carried {
		require.LessOrEqual(t, n, perLease+workers, "those on their way are not counted yet")
	}
	each(func(i int64) error { return holds[i].Unlock(guarded(t)) })
	// Leases fall out of use from the last on, one with each lock.
	for range len(carried) {
		m, err := lock.NewMutex(s, prefix+"m")
		require.NoError(t, err)
		h, err := m.Lock(guarded(t))
		require.NoError(t, err)
		require.NoError(t, h.Unlock(guarded(t)))
	}
	for id := range carried {
		eventually(t, func() bool {
			return op.knows(t, clientv3.LeaseID(id)) == (clientv3.LeaseID(id) == liveLease(t, s).ID())
		},
			"only one lease is left")
	}
}
