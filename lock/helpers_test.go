package lock_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

const (
	guard     = peertest.Guard
	poll      = 5 * time.Millisecond
	calm      = peertest.Calm
	unhurried = peertest.Unhurried
)

// Short names for what is used everywhere.
var (
	guarded    = peertest.Guarded
	eventually = peertest.Eventually
	withTTL    = peertest.WithTTL
	withClient = peertest.WithClient
	put        = peertest.Put
	get        = peertest.Get
	remove     = peertest.Remove
	revoke     = peertest.Revoke
)

// await receives from ch, or fails the test.
func await[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	return peertest.Await(t, ch, what)
}

// peer is what one process has.
type peer struct{ *peertest.Peer }

// newPeer returns a peer whose network can be broken.
func newPeer(t *testing.T, c *etcdtest.Cluster, opts ...peertest.Option) *peer {
	t.Helper()
	return &peer{peertest.New(t, c, append([]peertest.Option{withTTL(lease.DefaultTTL)}, opts...)...)}
}

// newPeers returns n of them.
func newPeers(t *testing.T, c *etcdtest.Cluster, n int, opts ...peertest.Option) []*peer {
	t.Helper()
	all := make([]*peer, n)
	for i := range all {
		all[i] = newPeer(t, c, opts...)
	}
	return all
}

func (p *peer) mutex(t *testing.T, name string, opts ...lock.Option) *lock.Mutex {
	t.Helper()
	m, err := lock.NewMutex(p.Session, name, opts...)
	require.NoError(t, err)
	return m
}

// lock locks name, which is free or soon will be.
func (p *peer) lock(t *testing.T, name string, opts ...lock.Option) *lock.Hold {
	t.Helper()
	h, err := p.mutex(t, name, opts...).Lock(guarded(t))
	require.NoError(t, err)
	return h
}

// outcome is what Lock returned.
type outcome struct {
	hold *lock.Hold
	err  error
}

// lockSoon calls Lock in the background.
func (p *peer) lockSoon(ctx context.Context, t *testing.T, name string, opts ...lock.Option) <-chan outcome {
	t.Helper()
	m := p.mutex(t, name, opts...)
	done := make(chan outcome, 1)
	go func() {
		h, err := m.Lock(ctx)
		done <- outcome{h, err}
	}()
	return done
}

// queueUp calls Lock in the background for a lock that is taken and returns once
// its watch on the predecessor is in place.
func (p *peer) queueUp(ctx context.Context, t *testing.T, name string, opts ...lock.Option) (<-chan outcome, lease.Event) {
	t.Helper()
	watched := p.NextWatch(t)
	done := p.lockSoon(ctx, t, name, opts...)
	e := await(t, p.Waiting, "the acquisition waits")
	watched(e.Predecessor, e.Key)
	return done, e
}

// granted requires that Lock has succeeded, or soon will.
func granted(t *testing.T, done <-chan outcome) *lock.Hold {
	t.Helper()
	o := await(t, done, "Lock returns")
	require.NoError(t, o.err)
	require.NoError(t, o.hold.Err())
	return o.hold
}

// stillWaits requires that Lock has not returned.
func stillWaits(t *testing.T, done <-chan outcome) {
	t.Helper()
	select {
	case o := <-done:
		require.FailNow(t, "Lock has returned", "%v", o.err)
	default:
	}
}

func unlock(t *testing.T, h *lock.Hold) {
	t.Helper()
	require.NoError(t, h.Unlock(guarded(t)))
}

// lost requires that the hold is lost, or soon will be.
func lost(t *testing.T, h *lock.Hold) {
	t.Helper()
	await(t, h.Context().Done(), "the hold ends")
	require.ErrorIs(t, h.Err(), lock.ErrLost)
	require.ErrorIs(t, context.Cause(h.Context()), lock.ErrLost)
	require.NotErrorIs(t, h.Err(), lock.ErrReleased)
	require.LessOrEqual(t, h.Remaining(), time.Duration(0))
	require.False(t, h.Deadline().After(time.Now()))
}

func queueOf(t *testing.T, client *clientv3.Client, name string, opts ...lock.InspectOption) []lock.Entry {
	t.Helper()
	entries, err := lock.Inspect(guarded(t), client, name, opts...)
	require.NoError(t, err)
	return entries
}

// awaitQueue waits until n entries queue.
func awaitQueue(t *testing.T, client *clientv3.Client, name string, n int) {
	t.Helper()
	ctx := guarded(t)
	for {
		entries, err := lock.Inspect(ctx, client, name)
		require.NoError(t, err, "awaiting %d entries", n)
		if len(entries) == n {
			return
		}
		<-time.After(poll) // what it waits for may be the end of a lease
	}
}

// awaitDelete waits until key is deleted at or after revision from.
func awaitDelete(t *testing.T, client *clientv3.Client, key string, from int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	for resp := range client.Watch(ctx, key, clientv3.WithRev(from), clientv3.WithFilterPut()) {
		require.NoError(t, resp.Err())
		if len(resp.Events) > 0 {
			return
		}
	}
	require.FailNow(t, "not deleted", key)
}

func revision(t *testing.T, client *clientv3.Client) int64 {
	t.Helper()
	resp, err := client.Get(guarded(t), "revision", clientv3.WithCountOnly())
	require.NoError(t, err)
	return resp.Header.Revision
}

// section is a critical section which knows whether two were in it.
type section struct {
	t *testing.T

	mu      sync.Mutex
	inside  *lock.Hold
	highest lock.Token
	entries int
}

// visit enters and leaves.
func (s *section) visit(h *lock.Hold) {
	s.enter(h)
	runtime.Gosched()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inside == h {
		s.inside = nil
	}
}

func (s *section) enter(h *lock.Hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The order matters: if the newcomer is valid after the other was, both were.
	if s.inside != nil && s.inside.Err() == nil && h.Err() == nil {
		s.t.Errorf("%v came in while %v was inside", h.Token(), s.inside.Token())
	}
	if h.Token() <= s.highest {
		s.t.Errorf("token %v was granted after %v", h.Token(), s.highest)
	}
	s.inside, s.highest = h, h.Token()
	s.entries++
}

func (s *section) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries
}
