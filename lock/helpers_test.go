package lock_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

const (
	// guard is how long a test waits for what must happen; only a failure takes
	// that long.
	guard = 2 * time.Minute
	// poll is how often a test looks for what it is not told about.
	poll = 5 * time.Millisecond
	// calm is a TTL with which no renewal falls into a test.
	calm = 120 * time.Second
)

// guarded is the test's context with a limit.
func guarded(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), guard)
	tb.Cleanup(cancel)
	return ctx
}

// await receives from ch, or fails the test.
func await[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(guard):
		require.FailNow(t, "never happened", what)
		panic("unreachable")
	}
}

// peer is what one process has: a client, whose calls are recorded, and a session.
type peer struct {
	cluster *etcdtest.Cluster
	client  *clientv3.Client
	session *lease.Session
	rec     *etcdtest.Recorder
	net     *etcdtest.Net
	// waiting delivers each acquisition that starts to wait.
	waiting chan lease.Event
}

type peerOption func(*peerConfig)

type peerConfig struct {
	ttl    time.Duration
	client []etcdtest.ClientOption
}

func withTTL(ttl time.Duration) peerOption { return func(c *peerConfig) { c.ttl = ttl } }

func withClient(opts ...etcdtest.ClientOption) peerOption {
	return func(c *peerConfig) { c.client = append(c.client, opts...) }
}

// newPeer returns a peer whose network can be broken.
func newPeer(t *testing.T, c *etcdtest.Cluster, opts ...peerOption) *peer {
	t.Helper()
	cfg := peerConfig{ttl: lease.DefaultTTL}
	for _, o := range opts {
		o(&cfg)
	}
	p := &peer{cluster: c, rec: &etcdtest.Recorder{}, net: c.Net(t), waiting: make(chan lease.Event, 1000)}
	p.client = c.Client(t, append([]etcdtest.ClientOption{
		etcdtest.WithRecorder(p.rec), etcdtest.ViaNet(p.net), etcdtest.WithFastReconnect(),
	}, cfg.client...)...)
	var err error
	p.session, err = lease.NewSession(guarded(t), p.client, lease.WithTTL(cfg.ttl),
		lease.WithObserver(lease.Observer{Waiting: func(e lease.Event) { p.waiting <- e }}))
	require.NoError(t, err)
	t.Cleanup(func() {
		p.net.Heal()
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		defer cancel()
		require.NoError(t, p.session.Close(ctx))
	})
	return p
}

// newPeers returns n of them.
func newPeers(t *testing.T, c *etcdtest.Cluster, n int, opts ...peerOption) []*peer {
	t.Helper()
	all := make([]*peer, n)
	for i := range all {
		all[i] = newPeer(t, c, opts...)
	}
	return all
}

// leaseID returns the ID of the live lease.
func (p *peer) leaseID(t *testing.T) clientv3.LeaseID {
	t.Helper()
	l, err := p.session.Lease(guarded(t))
	require.NoError(t, err)
	return l.ID()
}

func (p *peer) mutex(t *testing.T, name string, opts ...lock.Option) *lock.Mutex {
	t.Helper()
	m, err := lock.NewMutex(p.session, name, opts...)
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
	done := p.lockSoon(ctx, t, name, opts...)
	e := await(t, p.waiting, "the acquisition waits")
	p.awaitWatch(t, e.Predecessor)
	return done, e
}

// awaitWatch waits until a watch on key has been created, or any if key is empty: an
// acquisition whose first reply came too late has yet to find out whom it waits for.
func (p *peer) awaitWatch(t *testing.T, key string) {
	t.Helper()
	eventually(t, func() bool {
		for _, w := range watches(p.rec) {
			if (w.key == key || key == "") && w.created != 0 {
				return true
			}
		}
		return false
	}, "a watch on %q", key)
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

func eventually(t *testing.T, ok func() bool, msg string, args ...any) {
	t.Helper()
	require.Eventuallyf(t, ok, guard, poll, msg, args...)
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
		runtime.Gosched()
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

func put(t *testing.T, client *clientv3.Client, key, value string, opts ...clientv3.OpOption) int64 {
	t.Helper()
	resp, err := client.Put(guarded(t), key, value, opts...)
	require.NoError(t, err)
	return resp.Header.Revision
}

// get returns the key, nil if there is none.
func get(t *testing.T, client *clientv3.Client, key string) *mvccpb.KeyValue {
	t.Helper()
	resp, err := client.Get(guarded(t), key)
	require.NoError(t, err)
	if len(resp.Kvs) == 0 {
		return nil
	}
	return resp.Kvs[0]
}

// remove deletes a key that exists, as an operator would.
func remove(t *testing.T, client *clientv3.Client, key string) {
	t.Helper()
	resp, err := client.Delete(guarded(t), key)
	require.NoError(t, err)
	require.EqualValues(t, 1, resp.Deleted)
}

func revoke(t *testing.T, client *clientv3.Client, id clientv3.LeaseID) {
	t.Helper()
	_, err := client.Revoke(guarded(t), id)
	require.NoError(t, err)
}

func revision(t *testing.T, client *clientv3.Client) int64 {
	t.Helper()
	resp, err := client.Get(guarded(t), "revision", clientv3.WithCountOnly())
	require.NoError(t, err)
	return resp.Header.Revision
}

// watch is a watch that a client asked for.
type watch struct {
	key     string
	start   int64
	filters []pb.WatchCreateRequest_FilterType
	created int64 // the store's revision when it was created, 0 if it was not yet
}

// watches returns the watches a client has asked for. The server creates those of
// one stream in order.
func watches(rec *etcdtest.Recorder) []watch {
	var all []watch
	for _, c := range rec.Calls() {
		if req, ok := c.Request.(*pb.WatchRequest); ok && c.IsWatchCreate() {
			req := req.GetCreateRequest()
			all = append(all, watch{key: string(req.Key), start: req.StartRevision, filters: req.Filters})
		}
		if resp, ok := c.Response.(*pb.WatchResponse); ok && resp.Created {
			for i := range all {
				if all[i].created == 0 {
					all[i].created = resp.Header.Revision
					break
				}
			}
		}
	}
	return all
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
