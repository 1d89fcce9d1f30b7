package lock_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// asked reports whether the channel of a hold is closed.
func asked(h *lock.Hold) bool {
	requested := h.ReleaseRequested()
	synctest.Wait() // for the first call's watch
	select {
	case <-requested:
		return true
	default:
		return false
	}
}

// request asks for the release of the lock, as a process of its own.
func request(t *testing.T, s *vtime.Server) {
	t.Helper()
	client := s.Client()
	require.NoError(t, lock.RequestRelease(t.Context(), client, "lock"))
	require.NoError(t, client.Close())
	synctest.Wait()
}

// kinds take a lock of each kind called "lock", or one that "lock" is part of.
func kinds() map[string]func(p *party) (taker, error) {
	return map[string]func(p *party) (taker, error){
		"mutex": func(p *party) (taker, error) {
			m, err := lock.NewMutex(p.session, "lock")
			return m.Lock, err
		},
		"reader": func(p *party) (taker, error) {
			m, err := lock.NewRWMutex(p.session, "lock")
			return m.RLock, err
		},
		"writer": func(p *party) (taker, error) {
			m, err := lock.NewRWMutex(p.session, "lock")
			return m.Lock, err
		},
		"semaphore": func(p *party) (taker, error) {
			m, err := lock.NewSemaphore(p.session, "lock", 3)
			return func(ctx context.Context) (*lock.Hold, error) { return m.Acquire(ctx, 1) }, err
		},
		"multi": func(p *party) (taker, error) {
			m, err := lock.NewMulti(p.session, []string{"another", "lock", "lock/below"})
			return m.Lock, err
		},
	}
}

func TestHoldersOfAllKindsAreAskedBeforeAndAfterTheyListen(t *testing.T) {
	t.Parallel()
	eachVirtually(t, kinds(), func(t *testing.T, s *vtime.Server, kind func(*party) (taker, error)) {
		t.Helper()
		p, other := newParty(t, s), newParty(t, s)
		acquire, err := kind(p)
		require.NoError(t, err)
		for _, listens := range []bool{true, false} {
			h, err := acquire(t.Context())
			require.NoError(t, err)
			if listens {
				require.False(t, asked(h))
			}
			elsewhere, err := lock.NewMutex(other.session, "lock/elsewhere")
			require.NoError(t, err)
			spared := take(t, elsewhere)
			require.False(t, asked(spared))
			request(t, s)
			require.True(t, asked(h))
			require.True(t, asked(h), "and stays so")
			require.False(t, asked(spared))
			require.NoError(t, h.Err(), "what to do about it is up to the holder")
			unlock(t, h)
			unlock(t, spared)
		}
		h, err := acquire(t.Context())
		require.NoError(t, err)
		require.False(t, asked(h), "it is another hold, under the same key")
		unlock(t, h)
		require.NoError(t, p.session.Close(t.Context()))
		require.NoError(t, other.session.Close(t.Context())) // it would renew a thousand times
		vtime.Advance(time.Hour + time.Second)
		requireKeys(t, s, "lock")
		requireKeys(t, s, "another")
	})
}

func TestEveryHolderOfASharedLockIsAsked(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"reader", "semaphore"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				var holds []*lock.Hold
				for range 3 {
					acquire, err := kinds()[kind](newParty(t, s))
					require.NoError(t, err)
					h, err := acquire(t.Context())
					require.NoError(t, err)
					require.False(t, asked(h))
					holds = append(holds, h)
				}
				request(t, s)
				for _, h := range holds {
					require.True(t, asked(h))
					unlock(t, h)
				}
			})
		})
	}
}

func TestWhoWaitsIsNotAskedNorIsTheNextHolder(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, q := newParty(t, s), newParty(t, s)
		h := take(t, p.mutex(t))
		same, other := soon(anHour(t), p.mutex(t).Lock), soon(anHour(t), q.mutex(t).Lock)
		request(t, s)
		require.True(t, asked(h))
		unlock(t, h)
		for _, w := range []<-chan outcome{same, other} {
			next := granted(t, w)
			require.False(t, asked(next))
			unlock(t, next)
		}
	})
}

func TestTheNextHolderAfterALocalHandoffIsAskedToo(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m := p.mutex(t, lock.WithLocalHandoff(2))
		h := take(t, m)
		waiters := line(t, m, 3)
		request(t, s)
		require.True(t, asked(h))
		for i, w := range waiters {
			unlock(t, h)
			h = granted(t, w)
			require.Equal(t, i < 2, asked(h), "until the entry is given up")
		}
		unlock(t, h)
	})
}

func TestARequestWithoutAHolderDoesNothing(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		for range 2 {
			before := s.Etcd().KV().Rev()
			p.rec.Reset()
			require.NoError(t, lock.RequestRelease(t.Context(), p.client, "lock"))
			require.Equal(t, before, s.Etcd().KV().Rev(), "nothing is written")
			require.Zero(t, p.rec.Writes())
			h := take(t, p.mutex(t))
			require.False(t, asked(h))
			unlock(t, h)
		}
	})
}

func TestARequestCostsOneReadOneGrantAndOneWriteForEachHolder(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p, q := newParty(t, s), newParty(t, s)
		m, err := lock.NewRWMutex(p.session, "lock")
		require.NoError(t, err)
		for range 3 {
			_, err := m.RLock(t.Context())
			require.NoError(t, err)
		}
		q.rec.Reset()
		require.NoError(t, lock.RequestRelease(t.Context(), q.client, "lock"))
		require.Equal(t, 3, sent(q.rec).writes)
		require.Equal(t, 1, q.rec.Count("LeaseGrant"))
	})
}

func TestRequestsLeaveOneKeyForEachNameHoweverOftenItIsAskedFor(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		m, another := p.mutex(t), p.named(t, "lock/another")
		for range 3 {
			h, spared := take(t, m), take(t, another)
			for range 3 {
				request(t, s)
				require.True(t, asked(h))
			}
			unlock(t, h)
			unlock(t, spared)
			require.Len(t, storedUnder(t, s, "lock"), 1)
		}
		require.NoError(t, p.session.Close(t.Context()))
		vtime.Advance(time.Hour + time.Second)
		requireKeys(t, s, "lock")
	})
}

func TestRequestsReachTheHolderInSpiteOfFaults(t *testing.T) {
	t.Parallel()
	eachVirtually(t, map[string]func(t *testing.T, s *vtime.Server, p *party, ask func()){
		"the connection breaks": func(t *testing.T, _ *vtime.Server, p *party, ask func()) {
			t.Helper()
			p.cut.Reset()
			ask()
		},
		"it is cut off meanwhile": func(t *testing.T, _ *vtime.Server, p *party, ask func()) {
			t.Helper()
			p.cut.Cut()
			ask()
			p.cut.Heal()
		},
		"history is compacted meanwhile": func(t *testing.T, s *vtime.Server, p *party, ask func()) {
			t.Helper()
			p.cut.Cut()
			vtime.Advance(time.Millisecond)
			ask()
			for range 2 {
				ask()
			}
			s.Compact(t.Context())
			p.cut.Heal()
			vtime.Advance(time.Second)
			require.True(t, compacted(p.rec), "its watch has failed")
		},
		"the server restarts": func(t *testing.T, s *vtime.Server, _ *party, ask func()) {
			t.Helper()
			s.Restart()
			ask()
		},
		"its watch keeps quiet": func(t *testing.T, _ *vtime.Server, p *party, ask func()) {
			t.Helper()
			p.rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
				resp, ok := msg.(*pb.WatchResponse)
				return ok && d == etcdtest.Recv && len(resp.Events) > 0, nil
			})
			ask()
		},
		"its watch is never created": func(t *testing.T, _ *vtime.Server, p *party, ask func()) {
			t.Helper()
			var swallowed atomic.Bool
			p.rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
				req, ok := msg.(*pb.WatchRequest)
				return ok && d == etcdtest.Send && req.GetCreateRequest() != nil && !swallowed.Swap(true), nil
			})
			p.cut.Reset()
			ask()
		},
	}, func(t *testing.T, s *vtime.Server, fault func(*testing.T, *vtime.Server, *party, func())) {
		t.Helper()
		p := newParty(t, s)
		h := take(t, p.mutex(t))
		require.False(t, asked(h))
		began := time.Now()
		fault(t, s, p, func() { request(t, s) })
		await(t, h.ReleaseRequested(), "the holder is asked")
		require.LessOrEqual(t, time.Since(began), partyTTL/3+time.Second)
		require.NoError(t, h.Err())
		unlock(t, h)
	})
}

func TestAHolderWhoseStreamSwallowsItsWatchListensOnAnother(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		h := take(t, p.mutex(t))
		var creations atomic.Int64
		p.rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
			req, ok := msg.(*pb.WatchRequest)
			return ok && d == etcdtest.Send && req.GetCreateRequest() != nil && creations.Add(1) == 1, nil
		})
		require.False(t, asked(h))
		request(t, s)
		began := time.Now()
		await(t, h.ReleaseRequested(), "the holder is asked")
		require.LessOrEqual(t, time.Since(began), partyTTL/3)
		require.Greater(t, creations.Load(), int64(1))
		unlock(t, h)
	})
}

// deny refuses a party all reads and watches of requests, as the server does whose role for it
// lacks them, until they are allowed.
func deny(p *party) (allow func()) {
	denied := func(key []byte) bool { return bytes.Contains(key, []byte("~request/")) }
	unary := p.rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if txn, _ := req.(*pb.TxnRequest); len(txn.GetSuccess()) > 0 && denied(txn.Success[0].GetRequestRange().GetKey()) {
			return rpctypes.ErrGRPCPermissionDenied
		}
		return invoke()
	})
	var mu sync.Mutex
	var creations []bool // that have no answer, and whether they are denied
	stream := p.rec.HookStream(func(_ string, d etcdtest.Direction, msg any) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		switch msg := msg.(type) {
		case *pb.WatchRequest:
			if create := msg.GetCreateRequest(); create != nil && d == etcdtest.Send {
				creations = append(creations, denied(create.Key))
			}
		case *pb.WatchResponse:
			if msg.Created && len(creations) > 0 {
				if creations[0] {
					msg.WatchId, msg.Canceled, msg.CancelReason = clientv3.InvalidWatchID, true, rpctypes.ErrGRPCPermissionDenied.Error()
				}
				creations = creations[1:]
			}
		}
		return false, nil
	})
	return func() { unary(); stream() }
}

// Its role has the lock, and not the requests for it.
func TestAHolderThatMayNotReadRequestsSaysSoOnceAndHeals(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var log page
		p := newParty(t, s)
		var err error
		p.session, err = lease.NewSession(t.Context(), p.client, lease.WithTTL(partyTTL), lease.WithLogger(log.logger()))
		require.NoError(t, err)
		h := take(t, p.mutex(t))
		allow := deny(p)
		require.False(t, asked(h))
		vtime.Advance(partyTTL)
		streams, watches := p.rec.Count("WatchStream"), p.rec.Count("Watch")
		require.Positive(t, watches)
		vtime.Advance(10 * partyTTL)
		require.Equal(t, streams, p.rec.Count("WatchStream"))
		require.Equal(t, watches, p.rec.Count("Watch"))
		require.Equal(t, []string{`level=WARN msg="queue: what others ask for cannot be read" kind=mutex name=lock`}, log.lines())
		request(t, s)
		allow()
		vtime.Advance(2 * partyTTL)
		require.True(t, asked(h))
		unlock(t, h)
		require.NoError(t, p.session.Close(t.Context()))
	})
}

// There is no place for requests in that layout: next to the keys of others anything may be.
func TestNobodyIsAskedInEtcdsLayout(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		h := take(t, p.mutex(t, lock.WithEtcdLayout()))
		p.rec.Reset()
		require.False(t, asked(h))
		vtime.Advance(partyTTL)
		require.Zero(t, p.rec.Count("Watch"))
		require.NotNil(t, h.ReleaseRequested())
		unlock(t, h)
	})
}

func TestRequestsSurviveAChangeOfLeader(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	h := p.lock(t, name)
	requested := h.ReleaseRequested()
	p.AwaitWatch(t, "", "")
	require.NoError(t, c.MoveLeader(guarded(t)))
	require.NoError(t, lock.RequestRelease(guarded(t), c.Client(t), name))
	await(t, requested, "the holder is asked")
	unlock(t, h)
}

func TestListeningEndsWithTheHold(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := newParty(t, s)
		h := take(t, p.mutex(t))
		requested := h.ReleaseRequested()
		require.Equal(t, requested, h.ReleaseRequested(), "the same each time")
		synctest.Wait()
		p.rec.Reset()
		unlock(t, h)
		synctest.Wait()
		require.Equal(t, 1, p.rec.Count("WatchCancel"))
		p.rec.Reset()
		request(t, s)
		require.False(t, asked(h))
		late := take(t, p.mutex(t))
		unlock(t, late)
		p.rec.Reset()
		require.False(t, asked(late), "listens for the first time")
		require.Zero(t, sent(p.rec).watches, "when it is over")
		losing := take(t, p.mutex(t))
		require.False(t, asked(losing))
		losses()["its lease revoked"](t, p, losing)
		lost(t, losing)
		request(t, s)
		require.False(t, asked(losing))
	})
}

// etcd renews a lease only for those who may write each of its keys.
func TestAHolderThatMayWriteItsQueueOnlyLivesOnAfterARequest(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(guarded(t)))
	require.NoError(t, c.AddUser(guarded(t), "user", "password", "m/~mutex/"))
	p := newPeer(t, c, withTTL(unhurried), withClient(etcdtest.WithUser("user", "password")))
	h := p.lock(t, "m")
	before := h.Deadline()
	root := c.Client(t, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	require.NoError(t, lock.RequestRelease(guarded(t), root, "m"))
	eventually(t, func() bool { return h.Err() != nil || h.Deadline().After(before.Add(unhurried/2)) }, "renewals go on")
	require.NoError(t, h.Err())
	unlock(t, h)
	unlock(t, p.lock(t, "m"))
}

func TestRequestsRefuseBadInput(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client := c.Client(t)
	require.ErrorContains(t, lock.RequestRelease(guarded(t), nil, "m"), "lock: client is nil: must be a connected")
	for _, name := range []string{"", "a/", "~x", "a\n"} {
		require.ErrorContains(t, lock.RequestRelease(guarded(t), client, name), "lock: name ", fmt.Sprintf("%q", name))
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, lock.RequestRelease(done, client, "m"), context.Canceled)

	holder := newPeer(t, c, withTTL(calm))
	holder.lock(t, "others/m", lock.WithOwner("the holder"))
	require.NoError(t, c.EnableAuth(guarded(t)))
	require.NoError(t, c.AddUser(guarded(t), "user", "password", "theirs/"))
	stranger := c.Client(t, etcdtest.WithUser("user", "password"))
	err := lock.RequestRelease(guarded(t), stranger, "others/m")
	require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
	require.ErrorContains(t, err, `lock: requesting the release of "others/m": `)
	require.NoError(t, lock.RequestRelease(guarded(t), stranger, "theirs/m"))

	// May look, but not write.
	root := c.Client(t, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	_, err = root.RoleAdd(guarded(t), "looks")
	require.NoError(t, err)
	_, err = root.RoleGrantPermission(guarded(t), "looks", "others/", "others0", 0)
	require.NoError(t, err)
	_, err = root.UserGrantRole(guarded(t), "user", "looks")
	require.NoError(t, err)
	err = lock.RequestRelease(guarded(t), stranger, "others/m")
	require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
	require.ErrorContains(t, err, `lock: requesting the release of "others/m" from "the holder": `)
}
