package lock_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// newVirtualPeer returns a session in virtual time, which is what ways of taking a
// lock need of a peer.
func newVirtualPeer(t *testing.T, client *clientv3.Client, ttl time.Duration) *peer {
	t.Helper()
	session, err := lease.NewSession(t.Context(), client, lease.WithTTL(ttl))
	require.NoError(t, err)
	t.Cleanup(func() {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		_ = session.Close(done) // as in newVirtualMutex
	})
	return &peer{&peertest.Peer{Client: client, Session: session}}
}

// lineUp takes permits for holders, lets waiters queue behind them, one permit each,
// and returns both.
func lineUp(t *testing.T, holder *peer, waiters ...*peer) (holds []*lock.Hold, queue []<-chan outcome) {
	t.Helper()
	n := len(waiters)
	for range n {
		h, err := permits(1, n)(anHour(t), holder, "lock")
		require.NoError(t, err)
		holds = append(holds, h)
	}
	for _, p := range waiters {
		queue = append(queue, p.takeSoon(anHour(t), permits(1, n), "lock"))
		vtime.Advance(10 * mostDrag)
	}
	return holds, queue
}

// Any of those who own may let the first waiter in. It names the newest, not the lane, and never
// itself.
func TestTheFirstWaiterOfASemaphoreNamesAnOwner(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var waits []lease.Event
		session, err := lease.NewSession(t.Context(), s.Client(), lease.WithObserver(lease.Observer{
			Waiting: func(e lease.Event) { waits = append(waits, e) },
		}))
		require.NoError(t, err)
		sem, err := lock.NewSemaphore(session, "lock", 2)
		require.NoError(t, err)
		first, err := sem.Acquire(t.Context(), 1)
		require.NoError(t, err)
		second, err := sem.Acquire(t.Context(), 1)
		require.NoError(t, err)
		for _, newest := range []*lock.Hold{second, first} {
			within, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, err = sem.Acquire(within, 2)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, fmt.Sprintf("waiting behind key %q of revision %d", newest.Key(), newest.Token().Revision()))
			e := waits[len(waits)-1]
			require.Equal(t, []any{newest.Key(), newest.Token().Revision()}, []any{e.Predecessor, e.Followed})
			unlock(t, newest)
		}
		require.NoError(t, session.Close(t.Context()))
	})
}

func TestAPausedHeadWaiterDelaysTheOthersByARoundAtMost(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Second
	for _, way := range cutWays {
		for _, pausedFor := range []time.Duration{ttl / 2, 3 * ttl} {
			t.Run(way.Name+" for "+pausedFor.String(), func(t *testing.T) {
				t.Parallel()
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					client, cut := s.CutClient()
					head := newVirtualPeer(t, client, ttl)
					p := newVirtualPeer(t, s.Client(vtime.WithDrag(vtime.NewDrag(1, mostDrag))), ttl)
					holds, queue := lineUp(t, p, head, p, newVirtualPeer(t, s.Client(vtime.WithDrag(vtime.NewDrag(2, mostDrag))), ttl), p)
					way.Cut(cut)
					began := time.Now()
					time.AfterFunc(pausedFor, cut.Heal)
					for _, h := range holds {
						require.NoError(t, h.Unlock(t.Context()))
					}
					for _, done := range queue[1:] {
						o := <-done
						require.NoError(t, o.err)
						require.NoError(t, o.hold.Err())
					}
					t.Logf("granted after %v", time.Since(began))
					require.LessOrEqual(t, time.Since(began), ttl/3+20*mostDrag)
					o := <-queue[0]
					require.NoError(t, o.err, "it goes on when it wakes up")
					require.LessOrEqual(t, time.Since(began), pausedFor+ttl+time.Second)
				})
			})
		}
	}
}

func TestPermitsOfAHeadWaiterWhoDiesAreGrantedAfterItsTTL(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Second
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		head, p := newVirtualPeer(t, client, ttl), newVirtualPeer(t, s.Client(), ttl)
		hold, err := permits(2, 2)(anHour(t), p, "lock")
		require.NoError(t, err)
		head.takeSoon(anHour(t), permits(2, 2), "lock")
		synctest.Wait()
		next := p.takeSoon(anHour(t), permits(1, 2), "lock")
		synctest.Wait()
		cut.Cut()
		died := time.Now()
		require.NoError(t, hold.Unlock(t.Context()))
		o := <-next
		require.NoError(t, o.err)
		require.LessOrEqual(t, time.Since(died), ttl+time.Second)
	})
}

// An event that the first who waits is not sent is made up for by the look, and what
// waits from then on does so on another stream.
func TestAWatchThatDeliversNothingToASemaphoresQueueIsReplaced(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Second
	for _, place := range []string{"first", "second"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				var d deaf
				p, hears := newVirtualPeer(t, s.Client(d.option()), ttl), newVirtualPeer(t, s.Client(), ttl)
				waiters := []*peer{p, hears}
				if place == "second" {
					waiters = []*peer{hears, p}
				}
				holds, queue := lineUp(t, hears, waiters...)
				d.silent.Store(true)
				vtime.Sleep(ttl / 7)
				began := time.Now()
				for i, h := range holds {
					require.NoError(t, h.Unlock(t.Context()))
					o := <-queue[i]
					require.NoError(t, o.err)
					holds[i] = o.hold
				}
				require.LessOrEqual(t, time.Since(began), 2*ttl/3)
				require.Positive(t, d.dropped.Load(), "events were swallowed")

				again := p.takeSoon(anHour(t), permits(1, 2), "lock")
				synctest.Wait()
				began = time.Now()
				require.NoError(t, holds[0].Unlock(t.Context()))
				o := <-again
				require.NoError(t, o.err)
				require.Zero(t, time.Since(began), "woken by its event")
				require.Equal(t, int64(2), d.opened.Load())
			})
		})
	}
}

func TestWaitersForPermitsKeepTheirStreamsOpen(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Second
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var first, second deaf // which hear everything
		holds, queue := lineUp(t, newVirtualPeer(t, s.Client(), ttl),
			newVirtualPeer(t, s.Client(first.option()), ttl), newVirtualPeer(t, s.Client(second.option()), ttl))
		vtime.Advance(10 * ttl)
		require.Equal(t, int64(1), first.opened.Load(), "streams of the first who waits")
		require.Equal(t, int64(1), second.opened.Load(), "streams of the second")
		for i, h := range holds {
			began := time.Now()
			require.NoError(t, h.Unlock(t.Context()))
			o := <-queue[i]
			require.NoError(t, o.err)
			require.Zero(t, time.Since(began), "woken by an event")
		}
	})
}

// Who waits for many permits does not find out after each release who has which.
func TestAWaiterForManyPermitsReadsOnceEnoughWereGivenBack(t *testing.T) {
	t.Parallel()
	eachVirtually(t, map[string]struct{ permits, releases int }{
		"all":  {permits: 8, releases: 4},
		"some": {permits: 3, releases: 2},
	}, func(t *testing.T, s *vtime.Server, wanted struct{ permits, releases int }) {
		t.Helper()
		var holds []*lock.Hold
		holder, p := newVirtualPeer(t, s.Client(), partyTTL), newParty(t, s)
		for _, n := range []int{1, 2, 1, 4} {
			h, err := permits(n, 8)(anHour(t), holder, "lock")
			require.NoError(t, err)
			holds = append(holds, h)
		}
		sem, err := lock.NewSemaphore(p.session, "lock", 8)
		require.NoError(t, err)
		done := soon(anHour(t), func(ctx context.Context) (*lock.Hold, error) { return sem.Acquire(ctx, wanted.permits) })
		synctest.Wait()
		p.rec.Reset()
		for _, h := range holds[:wanted.releases] {
			stillWaits(t, done)
			require.Equal(t, tally{}, sent(p.rec), "it only listens")
			unlock(t, h)
			synctest.Wait()
		}
		unlock(t, granted(t, done))
		require.Equal(t, tally{local: 1, writes: 2}, sent(p.rec), "one read, one mark, one removal")
	})
}
