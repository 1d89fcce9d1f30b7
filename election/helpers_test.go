package election_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

const (
	// guard is how long a test waits for what must happen; only a failure takes
	// that long.
	guard = 2 * time.Minute
	// poll is how often a test looks for what it is not told about.
	poll = 5 * time.Millisecond
	// calm is a TTL with which no renewal falls into a test.
	calm = 120 * time.Second
	// unhurried is a TTL whose rounds a test can wait for, and which a busy machine
	// does not lose.
	unhurried = 6 * time.Second
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

func eventually(t *testing.T, ok func() bool, msg string, args ...any) {
	t.Helper()
	require.Eventuallyf(t, ok, guard, poll, msg, args...)
}

// peer is what one process has: a client, whose calls are recorded, and a session.
type peer struct {
	client  *clientv3.Client
	session *lease.Session
	rec     *etcdtest.Recorder
	net     *etcdtest.Net
	// waiting delivers each candidate that starts to wait.
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
	cfg := peerConfig{ttl: calm}
	for _, o := range opts {
		o(&cfg)
	}
	p := &peer{rec: &etcdtest.Recorder{}, net: c.Net(t), waiting: make(chan lease.Event, 1000)}
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

// leaseID returns the ID of the live lease.
func (p *peer) leaseID(t *testing.T) clientv3.LeaseID {
	t.Helper()
	l, err := p.session.Lease(guarded(t))
	require.NoError(t, err)
	return l.ID()
}

func (p *peer) election(t *testing.T, name string, opts ...election.Option) *election.Election {
	t.Helper()
	e, err := election.New(p.session, name, opts...)
	require.NoError(t, err)
	return e
}

// lead campaigns where nobody else is in the way, or soon will not be.
func (p *peer) lead(t *testing.T, name, value string) *election.Term {
	t.Helper()
	term, err := p.election(t, name).Campaign(guarded(t), value)
	require.NoError(t, err)
	return term
}

// outcome is what Campaign returned.
type outcome struct {
	term *election.Term
	err  error
}

// campaignSoon calls Campaign in the background.
func (p *peer) campaignSoon(ctx context.Context, t *testing.T, name, value string) <-chan outcome {
	t.Helper()
	e := p.election(t, name)
	done := make(chan outcome, 1)
	go func() {
		term, err := e.Campaign(ctx, value)
		done <- outcome{term, err}
	}()
	return done
}

// queueUp calls Campaign in the background where somebody leads, and returns once its
// watch on the predecessor is in place.
func (p *peer) queueUp(ctx context.Context, t *testing.T, name, value string) (<-chan outcome, lease.Event) {
	t.Helper()
	done := p.campaignSoon(ctx, t, name, value)
	e := await(t, p.waiting, "the candidate waits")
	p.awaitWatch(t, e.Predecessor)
	return done, e
}

// awaitWatch waits until a watch on key, or on any key if that is not known, has been
// created since it was last asked for.
func (p *peer) awaitWatch(t *testing.T, key string) {
	t.Helper()
	eventually(t, func() bool {
		asked, created := false, false
		for _, c := range p.rec.Calls() {
			if req, ok := c.Request.(*pb.WatchRequest); ok && c.IsWatchCreate() && (key == "" || string(req.GetCreateRequest().Key) == key) {
				asked, created = true, false
			}
			if resp, ok := c.Response.(*pb.WatchResponse); ok && resp.Created {
				created = true
			}
		}
		return asked && created
	}, "a watch on %q", key)
}

// elected requires that Campaign has succeeded, or soon will.
func elected(t *testing.T, done <-chan outcome) *election.Term {
	t.Helper()
	o := await(t, done, "Campaign returns")
	require.NoError(t, o.err)
	require.NoError(t, o.term.Err())
	return o.term
}

// stillWaits requires that Campaign has not returned.
func stillWaits(t *testing.T, done <-chan outcome) {
	t.Helper()
	select {
	case o := <-done:
		require.FailNow(t, "Campaign has returned", "%v", o.err)
	default:
	}
}

func resign(t *testing.T, term *election.Term) {
	t.Helper()
	require.NoError(t, term.Resign(guarded(t)))
}

// lost requires that the term is lost, or soon will be.
func lost(t *testing.T, term *election.Term) {
	t.Helper()
	await(t, term.Context().Done(), "the term ends")
	require.ErrorIs(t, term.Err(), election.ErrLost)
	require.ErrorIs(t, context.Cause(term.Context()), election.ErrLost)
	require.NotErrorIs(t, term.Err(), election.ErrResigned)
	require.LessOrEqual(t, term.Remaining(), time.Duration(0))
	require.False(t, term.Deadline().After(time.Now()))
}

func candidates(t *testing.T, client *clientv3.Client, name string) []election.Candidate {
	t.Helper()
	all, err := election.Candidates(guarded(t), client, name)
	require.NoError(t, err)
	return all
}

// values returns what the candidates stand for, in their order.
func values(t *testing.T, client *clientv3.Client, name string) (all []string) {
	t.Helper()
	for _, c := range candidates(t, client, name) {
		all = append(all, c.Value)
	}
	return all
}

// awaitValues waits until the candidates are these.
func awaitValues(t *testing.T, client *clientv3.Client, name string, want ...string) {
	t.Helper()
	eventually(t, func() bool { return equal(values(t, client, name), want) }, "candidates %v", want)
}

func equal[T comparable](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// current returns the leader.
func current(t *testing.T, client *clientv3.Client, name string) election.Leader {
	t.Helper()
	l, err := election.Current(guarded(t), client, name)
	require.NoError(t, err)
	return l
}

// sight is what an observer was given.
type sight struct {
	leader election.Leader
	err    error
}

// observer is a loop over Observe in the background.
type observer struct {
	seen chan sight
	stop func() // ends the loop by its context and waits for it
}

func observe(ctx context.Context, t *testing.T, client *clientv3.Client, name string) *observer {
	t.Helper()
	return observeSlowly(ctx, t, client, name, nil)
}

// observeSlowly takes a step for each value received from pace, if that is not nil.
func observeSlowly(ctx context.Context, t *testing.T, client *clientv3.Client, name string, pace <-chan struct{}) *observer {
	t.Helper()
	o := &observer{seen: make(chan sight, 10_000)}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for l, err := range election.Observe(ctx, client, name) {
			o.seen <- sight{l, err}
			if pace != nil {
				select {
				case <-pace:
				case <-ctx.Done():
				}
			}
		}
	})
	o.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(o.stop)
	return o
}

// next requires that the observer is given a leader with this value; "" is nobody.
func (o *observer) next(t *testing.T, value string) election.Leader {
	t.Helper()
	s := await(t, o.seen, "a change to "+value)
	require.NoError(t, s.err)
	require.Equal(t, value, s.leader.Value)
	require.Equal(t, value != "", s.leader.Exists())
	return s.leader
}

// fails requires that the observer is given an error.
func (o *observer) fails(t *testing.T) error {
	t.Helper()
	for {
		if s := await(t, o.seen, "an error"); s.err != nil {
			require.False(t, s.leader.Exists())
			return s.err
		}
	}
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

// valueOf returns what the entry of a candidate stands for.
func valueOf(entry []byte) string {
	var record struct {
		Value string `json:"value"`
	}
	if json.Unmarshal(entry, &record) != nil {
		return ""
	}
	return record.Value
}
