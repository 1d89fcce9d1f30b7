package election_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/lease"
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
	return &peer{peertest.New(t, c, opts...)}
}

func (p *peer) election(t *testing.T, name string, opts ...election.Option) *election.Election {
	t.Helper()
	e, err := election.New(p.Session, name, opts...)
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
	watched := p.NextWatch(t)
	done := p.campaignSoon(ctx, t, name, value)
	e := await(t, p.Waiting, "the candidate waits")
	watched(e.Predecessor, e.Key)
	return done, e
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

func observe(ctx context.Context, t *testing.T, client *clientv3.Client, name string, opts ...election.ReadOption) *observer {
	t.Helper()
	return observeSlowly(ctx, t, client, name, nil, opts...)
}

// observeSlowly takes a step for each value received from pace, if that is not nil.
func observeSlowly(ctx context.Context, t *testing.T, client *clientv3.Client, name string, pace <-chan struct{}, opts ...election.ReadOption) *observer {
	t.Helper()
	o := &observer{seen: make(chan sight, 10_000)}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for l, err := range election.Observe(ctx, client, name, opts...) {
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
