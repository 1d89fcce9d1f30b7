package election_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

func TestCandidatesAreElectedInTheOrderOfTheirRequests(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "e"
	first := newPeer(t, c)
	term := first.lead(t, name, "a")
	var waiting []<-chan outcome
	for _, value := range []string{"b", "c", "d"} {
		p := newPeer(t, c)
		done, _ := p.queueUp(t.Context(), t, name, value)
		waiting = append(waiting, done)
	}
	require.Equal(t, []string{"a", "b", "c", "d"}, values(t, first.Client, name))
	for _, done := range waiting {
		stillWaits(t, done)
		token := term.Token()
		resign(t, term)
		term = elected(t, done)
		require.Greater(t, term.Token(), token)
	}
	require.Equal(t, []string{"d"}, values(t, first.Client, name))
	resign(t, term)
	require.Empty(t, values(t, first.Client, name))
}

func TestCandidatesOfOneSessionExcludeEachOther(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	term := p.lead(t, name, "a")
	done, _ := p.queueUp(t.Context(), t, name, "b")
	resign(t, term)
	resign(t, elected(t, done))
}

func TestElectionsAndLocksOfRelatedNamesAreIndependent(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"a", newPeer(t, c)
	m, err := lock.NewMutex(p.Session, name)
	require.NoError(t, err)
	h, err := m.Lock(guarded(t))
	require.NoError(t, err)
	var terms []*election.Term
	for _, n := range []string{name, name + "/b", name + "/b/c", name + "b"} {
		terms = append(terms, p.lead(t, n, "x"))
		require.Equal(t, []string{"x"}, values(t, p.Client, n))
	}
	require.NoError(t, h.Unlock(guarded(t)))
	for _, term := range terms {
		resign(t, term)
	}
}

func TestTermTellsItsKeyTokenAndDeadline(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(guarded(t), key{}, "value"))
	term, err := p.election(t, name).Campaign(ctx, "a")
	require.NoError(t, err)
	cancel()
	require.NoError(t, term.Err(), "Campaign's context bounds the campaign, not the term")
	require.Equal(t, "value", term.Context().Value(key{}))

	kv := get(t, p.Client, term.Key())
	require.Equal(t, kv.CreateRevision, term.Token().Revision())
	require.Zero(t, term.Token().Sequence())
	require.Greater(t, term.Remaining(), time.Duration(0))
	require.True(t, term.Deadline().After(time.Now()))
	l, err := p.Session.Lease(guarded(t))
	require.NoError(t, err)
	require.Equal(t, l.Deadline(), term.Deadline())

	within, stop := term.With(guarded(t))
	defer stop()
	resign(t, term)
	await(t, within.Done(), "what derives from the term ends")
	require.ErrorIs(t, context.Cause(within), election.ErrResigned)
	require.ErrorIs(t, context.Cause(term.Context()), election.ErrResigned)
	require.ErrorIs(t, term.Err(), election.ErrResigned)
	require.NotErrorIs(t, term.Err(), election.ErrLost)
	require.False(t, term.Deadline().After(time.Now()))
	resign(t, term)
}

func TestGuardHoldsOnlyDuringTheTerm(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	term := p.lead(t, name, "a")
	key := name + "/data"
	guardedPut := func() bool {
		resp, err := p.Client.Txn(guarded(t)).If(term.Guard()...).Then(clientv3.OpPut(key, "x")).Commit()
		require.NoError(t, err)
		return resp.Succeeded
	}
	require.True(t, guardedPut())
	resp, err := term.Txn(guarded(t)).
		If(clientv3.Compare(clientv3.Value(key), "=", "y")).
		Then(clientv3.OpPut(key, "z")).Else(clientv3.OpGet(key)).Commit()
	require.NoError(t, err)
	require.False(t, resp.Succeeded, "speaks of the caller's conditions")
	require.Equal(t, "x", string(resp.Responses[0].GetResponseRange().Kvs[0].Value))

	resign(t, term)
	require.False(t, guardedPut())
	_, err = term.Txn(guarded(t)).Then(clientv3.OpPut(key, "y")).Commit()
	require.ErrorIs(t, err, election.ErrResigned)
	require.Equal(t, "x", string(get(t, p.Client, key).Value))
	remove(t, p.Client, key)
}

func TestCampaignFailsWhenItsContextIsDoneAlthoughNobodyLeads(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.election(t, name).Campaign(ctx, "a")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, p.election(t, name).Run(ctx, "a", nobodyLeads(t)), context.Canceled)
	require.Empty(t, values(t, p.Client, name))
}

// nobodyLeads is a lead that must not be called.
func nobodyLeads(t *testing.T) func(context.Context, *election.Term) error {
	t.Helper()
	return func(context.Context, *election.Term) error {
		t.Error("lead was called")
		return nil
	}
}

func TestCampaignFailsWhenTheSessionHasBeenClosed(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	term := p.lead(t, name, "a")
	require.NoError(t, p.Session.Close(guarded(t)))
	require.ErrorIs(t, term.Err(), election.ErrLost)
	require.ErrorIs(t, term.Err(), lease.ErrClosed)
	_, err := p.election(t, name).Campaign(guarded(t), "a")
	require.ErrorIs(t, err, lease.ErrClosed)
	require.ErrorIs(t, p.election(t, name).Run(guarded(t), "a", nobodyLeads(t)), lease.ErrClosed)
}

func TestBadInputIsRefusedByName(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, client := newPeer(t, c), c.Client(t)
	healthy := func(context.Context) error { return nil }
	for want, opts := range map[string][]election.Option{
		"option is nil": {nil},
		"owner of 257 bytes: must be at most 256":                     {election.WithOwner(strings.Repeat("o", 257))},
		"retry pauses from 0s to 1s: must be positive":                {election.WithRetry(0, time.Second)},
		"retry pauses from 2s to 1s: must be positive, and the first": {election.WithRetry(2*time.Second, time.Second)},
		"at most 0 terms per 1s: both must be positive":               {election.WithMaxTerms(0, time.Second)},
		"at most 1 terms per 0s: both must be positive":               {election.WithMaxTerms(1, 0)},
		"every 0s with timeout 1s: both must be positive":             {election.WithHealthCheck(0, time.Second, healthy)},
		"every 1s with timeout 0s: both must be positive":             {election.WithHealthCheck(time.Second, 0, healthy)},
		"health check is nil":                                         {election.WithHealthCheck(time.Second, time.Second, nil)},
	} {
		_, err := election.New(p.Session, "e", opts...)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "election: ")
	}
	_, err := election.New(nil, "e")
	require.ErrorContains(t, err, "election: session is nil")

	for _, name := range []string{"", "a/", "a/~b", "a\x00", "\xff", strings.Repeat("a", election.MaxName+1)} {
		_, err := election.New(p.Session, name)
		require.ErrorContains(t, err, "election: name")
		_, err = election.Current(guarded(t), client, name)
		require.ErrorContains(t, err, "election: name")
		_, err = election.Candidates(guarded(t), client, name)
		require.ErrorContains(t, err, "election: name")
		for _, err := range election.Observe(t.Context(), client, name) {
			require.ErrorContains(t, err, "election: name")
		}
	}
	_, err = election.Current(guarded(t), nil, "e")
	require.ErrorContains(t, err, "election: client is nil")
	_, err = election.Candidates(guarded(t), nil, "e")
	require.ErrorContains(t, err, "election: client is nil")
	for _, err := range election.Observe(t.Context(), nil, "e") {
		require.ErrorContains(t, err, "election: client is nil")
	}
	require.ErrorContains(t, p.election(t, "e").Run(guarded(t), "", nil), "election: lead is nil")
}

func TestValuesHaveToFitIntoAnEntry(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	e := p.election(t, name)
	long := strings.Repeat("\x01", election.MaxValue) // the worst that JSON makes longer
	term := p.lead(t, name, long)
	require.Equal(t, long, current(t, p.Client, name).Value)
	require.NoError(t, term.Proclaim(guarded(t), ""))
	require.Empty(t, current(t, p.Client, name).Value)
	require.NoError(t, term.Proclaim(guarded(t), long))
	for value, want := range map[string]string{
		long + "x":   "value of 65537 bytes: must be at most 65536",
		"\xff\x00ab": `value "\xff\x00ab": must be valid UTF-8`,
	} {
		_, err := e.Campaign(guarded(t), value)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, e.Run(guarded(t), value, nobodyLeads(t)), want)
		require.ErrorContains(t, term.Proclaim(guarded(t), value), want)
	}
	require.NoError(t, term.Err())
	require.Equal(t, long, current(t, p.Client, name).Value)
	resign(t, term)
}

func TestCurrentAndCandidatesDescribeTheQueue(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p, q := c.Prefix(t)+"e", newPeer(t, c), newPeer(t, c)
	require.False(t, current(t, p.Client, name).Exists())
	require.Empty(t, candidates(t, p.Client, name))

	began := time.Now()
	term, err := p.election(t, name, election.WithOwner("first")).Campaign(guarded(t), "a")
	require.NoError(t, err)
	done, e := q.queueUp(t.Context(), t, name, "b")
	var header lease.Header
	l, err := election.Current(guarded(t), q.Client, name, election.WithHeader(&header))
	require.NoError(t, err)
	require.NotZero(t, header.Cluster)
	require.NotZero(t, header.Member)
	require.NotZero(t, header.Term)
	require.GreaterOrEqual(t, header.Revision, e.Revision)
	created := term.Token().Revision()
	require.Equal(t, election.Leader{
		Value: "a", Key: term.Key(), Owner: "first", Token: term.Token(),
		CreateRevision: created, ModRevision: created, Version: 1, Lease: p.LeaseID(t),
	}, l)

	all := candidates(t, q.Client, name)
	require.Len(t, all, 2)
	require.Equal(t, term.Key(), all[0].Key)
	require.Equal(t, term.Token(), all[0].Token)
	require.Equal(t, "a", all[0].Value)
	require.Equal(t, "first", all[0].Owner)
	require.Equal(t, p.LeaseID(t), all[0].Lease)
	require.True(t, all[0].Leads())
	require.Equal(t, e.Key, all[1].Key)
	require.Equal(t, e.Revision, all[1].Token.Revision())
	require.Equal(t, q.LeaseID(t), all[1].Lease)
	require.NotEmpty(t, all[1].Owner, "host:pid")
	require.Equal(t, 1, all[1].Position)
	require.False(t, all[1].Leads())
	for _, c := range all {
		require.False(t, c.Since.Before(began.Round(0).Add(-time.Millisecond)))
		require.Equal(t, time.Second, c.Age(c.Since.Add(time.Second)))
	}
	require.Zero(t, election.Candidate{}.Age(time.Now()))
	resign(t, term)
	resign(t, elected(t, done))
}

func TestEntriesOfOtherMakersAreCandidatesWithoutAName(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	key := name + "/~election/by-hand"
	rev := put(t, p.Client, key, "not ours")
	l := current(t, p.Client, name)
	require.True(t, l.Exists())
	require.Equal(t, election.Leader{Key: key, Token: l.Token, CreateRevision: rev, ModRevision: rev, Version: 1}, l)
	require.Equal(t, rev, l.Token.Revision())
	require.Equal(t, []election.Candidate{{Key: key, Token: l.Token, CreateRevision: rev, ModRevision: rev, Version: 1}}, candidates(t, p.Client, name))
	done, _ := p.queueUp(t.Context(), t, name, "a")
	remove(t, p.Client, key)
	resign(t, elected(t, done))
}

func TestProclaimReplacesTheValueAndKeepsTheTerm(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	term := p.lead(t, name, "a")
	done, _ := newPeer(t, c).queueUp(t.Context(), t, name, "b")
	require.Equal(t, term.Token().Revision(), term.Header().Revision)
	for i, value := range []string{"a2", "", "a3", "a3"} {
		require.NoError(t, term.Proclaim(guarded(t), value))
		l := current(t, p.Client, name)
		require.Equal(t, term.Token().Revision(), l.CreateRevision)
		require.Equal(t, term.Header().Revision, l.ModRevision)
		require.EqualValues(t, i+2, l.Version)
		require.Equal(t, l.ModRevision, candidates(t, p.Client, name)[0].ModRevision)
		require.Equal(t, value, l.Value)
		require.Equal(t, term.Token(), l.Token)
		require.EqualValues(t, p.LeaseID(t), get(t, p.Client, l.Key).Lease)
	}
	resign(t, term)
	require.ErrorIs(t, term.Proclaim(guarded(t), "a4"), election.ErrResigned)
	next := elected(t, done)
	require.Equal(t, "b", current(t, p.Client, name).Value)
	resign(t, next)
}

func TestProclamationsTakeTurns(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	term := p.lead(t, name, "a")
	entered, release := make(chan struct{}, 10), make(chan struct{})
	unhook := p.Rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
		entered <- struct{}{}
		<-release
		return invoke()
	})
	first := make(chan error, 1)
	go func() { first <- term.Proclaim(guarded(t), "a1") }()
	await(t, entered, "the first")
	// One that waits for its turn heeds its context.
	ctx, cancel := context.WithCancelCause(guarded(t))
	why := errors.New("why")
	second := make(chan error, 1)
	go func() { second <- term.Proclaim(ctx, "a2") }()
	cancel(why)
	err := await(t, second, "the second gives up")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, why)
	third := make(chan error, 1)
	go func() { third <- term.Proclaim(guarded(t), "a3") }()
	unhook()
	close(release)
	require.NoError(t, await(t, first, "the first"))
	require.NoError(t, await(t, third, "the third"))
	require.Empty(t, entered, "the second sent nothing")
	require.Equal(t, "a3", current(t, p.Client, name).Value)
	resign(t, term)
}

func TestOneThatWaitsToProclaimIsToldOfTheEndOfTheTerm(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	term := p.lead(t, name, "a")
	entered := make(chan struct{}, 10)
	unhook := p.Rec.Hook("Txn", func(ctx context.Context, _ any, _ func() error) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	results := make(chan error, 2)
	go func() { results <- term.Proclaim(guarded(t), "a1") }()
	await(t, entered, "the first")
	go func() { results <- term.Proclaim(guarded(t), "a2") }()
	unhook()
	resign(t, term)
	for range 2 {
		require.ErrorIs(t, await(t, results, "a proclamation"), election.ErrResigned)
	}
}

func TestClientsInANamespaceSeeTheirOwnElection(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	root, outside := c.Prefix(t), c.Client(t)
	inside := c.Client(t)
	inside.KV = namespace.NewKV(inside.KV, root)
	inside.Watcher = namespace.NewWatcher(inside.Watcher, root)
	inside.Lease = namespace.NewLease(inside.Lease, root)
	s, err := lease.NewSession(guarded(t), inside)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	e, err := election.New(s, "e")
	require.NoError(t, err)

	o := observe(t.Context(), t, inside, "e")
	o.next(t, "")
	term, err := e.Campaign(guarded(t), "a")
	require.NoError(t, err)
	l := o.next(t, "a")
	require.Equal(t, term.Key(), l.Key)
	require.NotNil(t, get(t, outside, root+term.Key()))
	require.NoError(t, term.Proclaim(guarded(t), "b"))
	o.next(t, "b")
	resign(t, term)
	o.next(t, "")
}
