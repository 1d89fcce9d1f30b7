package queue_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/internal/race"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// exclusive returns the queue of a mutex, as a peer has it.
func exclusive(p *peertest.Peer, name string) *queue.Queue {
	return &queue.Queue{
		Session: p.Session, Kind: "mutex", Name: name, Lanes: []queue.Lane{queue.Exclusive(queue.Prefix(name, "mutex"))},
		Errors: queue.Errors{Lost: errors.New("lost"), Released: errors.New("released"), Taken: errors.New("taken")},
	}
}

// The lease of many that wait ends while they cannot open their watches. Those behind them in
// the queue, under another lease of the session, would take each for one that has owned, and
// so find nobody in their own way.
func TestTheEndOfALeaseIsNobodysTurn(t *testing.T) {
	t.Parallel()
	const crowd = 24
	c := etcdtest.New(t)
	holder, p := peertest.New(t, c), peertest.New(t, c, peertest.WithTTL(peertest.Unhurried*race.Slowdown))
	name := c.Prefix(t) + "m"
	h, err := exclusive(holder, name).Acquire(peertest.Guarded(t))
	require.NoError(t, err)
	release := queue.HoldOpenings(p.Session)
	q, granted := exclusive(p, name), make(chan *queue.Grant, crowd)
	for range crowd {
		go func() {
			g, err := q.Acquire(peertest.Guarded(t))
			if err != nil {
				t.Error(err)
			}
			granted <- g
		}()
	}
	wait := func() {
		for range crowd {
			peertest.Await(t, p.Waiting, "it waits")
		}
	}
	wait()
	owned := queue.WaitingNow(p.Session)
	peertest.Revoke(t, c.Client(t), p.LeaseID(t))
	wait() // under the next lease
	require.Zero(t, owned())
	release()
	require.NoError(t, h.Release(peertest.Guarded(t)))
	for range crowd {
		g := peertest.Await(t, granted, "it is granted")
		require.NotNil(t, g)
		require.NoError(t, g.Release(peertest.Guarded(t)))
	}
}

// Nor does the end of a stream that others have given up make an owner of who has yet to open a watch on it.
func TestWhoWaitsToOpenAWatchOnAStreamThatIsGivenUpGoesOnWaiting(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var peers [2]*peertest.Peer
		for i := range peers {
			session, err := lease.NewSession(t.Context(), s.Client())
			require.NoError(t, err)
			peers[i] = &peertest.Peer{Session: session}
		}
		h, err := exclusive(peers[0], "m").Acquire(t.Context())
		require.NoError(t, err)
		waits := peers[1].Session
		release := queue.HoldOpenings(waits)
		granted := make(chan *queue.Grant, 1)
		go func() {
			g, err := exclusive(peers[1], "m").Acquire(t.Context())
			if err != nil {
				t.Error(err)
			}
			granted <- g
		}()
		vtime.Advance(time.Second)
		l, err := waits.Lease(t.Context())
		require.NoError(t, err)
		stream := inside.Keys(l).Stream()
		stream.Abandon()
		stream.Doubt(time.Second)
		vtime.Advance(time.Minute)
		require.Empty(t, granted)
		release()
		stream.Leave(waits.Client(), "idle", false)
		require.NoError(t, h.Release(t.Context()))
		require.NoError(t, (<-granted).Release(t.Context()))
		for _, p := range peers {
			require.NoError(t, p.Session.Close(t.Context()))
		}
	})
}
