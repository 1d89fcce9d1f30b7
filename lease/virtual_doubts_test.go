package lease_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/race"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// storm is a session with what disturbs it, in virtual time.
type storm struct {
	t       *testing.T
	server  *vtime.Server
	calls   *vtime.Drag
	cut     *vtime.Cut
	session *lease.Session
}

func newStorm(t *testing.T, s *vtime.Server, drag time.Duration) *storm {
	t.Helper()
	x := &storm{t: t, server: s, calls: vtime.NewDrag(1, drag)}
	client, cut := s.CutClient(vtime.WithDrag(x.calls))
	x.cut = cut
	var err error
	x.session, err = lease.NewSession(t.Context(), client)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, x.session.Close(context.WithoutCancel(t.Context()))) })
	return x
}

// lock tries to lock and unlock a name in the given time.
func (x *storm) lock(name string, within time.Duration) {
	ctx, cancel := context.WithTimeout(x.t.Context(), within)
	defer cancel()
	m, err := lock.NewMutex(x.session, name)
	if err != nil {
		x.t.Error(err)
		return
	}
	if h, err := m.Lock(ctx); err == nil {
		_ = h.Unlock(context.WithoutCancel(ctx))
	}
}

// perMinute is how many requests the session sends in a quiet minute.
func (x *storm) perMinute() int {
	before := total(x.calls)
	vtime.Advance(time.Minute)
	return total(x.calls) - before
}

// leases is how many the server has.
func (x *storm) leases() int {
	x.t.Helper()
	resp, err := x.server.Client().Leases(x.t.Context())
	require.NoError(x.t, err)
	return len(resp.Leases)
}

// doubts is how many keys of the session's lease are in doubt.
func (x *storm) doubts() int {
	x.t.Helper()
	l, err := x.session.Lease(x.t.Context())
	require.NoError(x.t, err)
	return l.Doubts()
}

func TestTenMinutesAfterAStormASessionCostsWhatANewOneDoes(t *testing.T) {
	t.Parallel()
	const outages, callers = 5, 300
	for _, registered := range []bool{false, true} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			x := newStorm(t, s, 0)
			if registered { // it moves to another lease with the rest
				_, err := lease.Register(t.Context(), x.session, "key", "")
				require.NoError(t, err)
			}
			fresh := x.perMinute()
			for outage := range outages {
				x.cut.HoldToServer()
				var all sync.WaitGroup
				for i := range callers {
					all.Go(func() { x.lock(fmt.Sprint(outage, "/", i), time.Second) })
				}
				all.Wait()
				x.cut.Heal()
				vtime.Advance(10 * time.Second)
			}
			vtime.Advance(10 * time.Minute)
			require.Equal(t, lease.Healthy, x.session.State())
			require.Equal(t, 1, x.leases())
			require.Zero(t, x.doubts())
			require.InDelta(t, fresh, x.perMinute(), 4)
		})
	}
}

func TestASteadyStormDoesNotMakeASessionCostMore(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		x := newStorm(t, s, 2*time.Millisecond)
		_, err := lease.Register(t.Context(), x.session, "key", "")
		require.NoError(t, err)
		draw := rand.New(rand.NewPCG(1, 2))
		minute := func() {
			for i := range 600 {
				within := time.Minute
				if i%6 == 0 {
					within = time.Duration(draw.Int64N(int64(8 * time.Millisecond)))
				}
				x.lock(fmt.Sprint(i%8), within)
				vtime.Sleep(100 * time.Millisecond)
			}
		}
		var most int
		for range suite.Long(2, 1+9/race.Slowdown) {
			minute()
			most = max(most, x.leases())
		}
		require.LessOrEqual(t, most, 3)
		vtime.Advance(10 * time.Minute)
		require.Equal(t, 1, x.leases())
		require.Zero(t, x.doubts())
		require.Equal(t, lease.Healthy, x.session.State())
	})
}

func TestNobodyWaitsForAGrantWhenALeaseIsFull(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		x := newStorm(t, s, 0)
		for i := range 3 * perLease {
			m, err := lock.NewMutex(x.session, fmt.Sprint(i))
			require.NoError(t, err)
			before := x.calls.Counted()["LeaseGrant"]
			_, err = m.Lock(t.Context())
			require.NoError(t, err)
			if i%perLease == 0 {
				require.Equal(t, before, x.calls.Counted()["LeaseGrant"], "granted before")
			}
			vtime.Sleep(10 * time.Millisecond)
		}
	})
}

// The look removes what the session has put, and nothing that its user has.
func TestWhatAUserPutsUnderAKeyInDoubtStays(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	stuckPut(t, g)
	g.op.put(t, g.key, "the user's own", clientv3.WithLease(g.id(t)))
	g.round(t)
	g.round(t)
	g.op.requireKey(t, g.key, "the user's own", g.id(t))
}
