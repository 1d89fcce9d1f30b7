package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/lease"
)

// newPolicies returns a cache, its etcd, and the way there.
func newPolicies(t *testing.T) (*policies, *netfault.Proxy, *cluster.Counter) {
	t.Helper()
	proxy, via, err := programtest.Embedded(t).Proxy()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, proxy.Close()) })
	var counter cluster.Counter
	client, err := via.Dial(counter.DialOptions()...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	p := &policies{
		client: client, prefix: root("test").policies(), known: make(map[string]stated),
		heard: func(stated, source, bool) {},
	}
	return p, proxy, &counter
}

// publish stores the policy of acme, and returns the statement that would be pushed.
func publish(t *testing.T, p *policies, limit int) stated {
	t.Helper()
	s := stated{Tenant: "acme", Policy: &policy{limit}}
	text, err := json.Marshal(s.Policy)
	require.NoError(t, err)
	resp, err := p.client.Put(t.Context(), p.prefix+s.Tenant, string(text))
	require.NoError(t, err)
	s.Version = resp.Header.Revision
	return s
}

func TestTheLatestIsBelievedHoweverStatementsCome(t *testing.T) {
	t.Parallel()
	for range 200 {
		statements := []stated{
			{"acme", &policy{1}, 11},
			{"acme", nil, 12},
			{"acme", &policy{3}, 13},
			{"acme", &policy{4}, 14},
		}
		latest := statements[len(statements)-1]
		statements = append(statements, statements...) // each twice
		rand.Shuffle(len(statements), func(i, j int) { statements[i], statements[j] = statements[j], statements[i] })
		var believed []int64
		p := &policies{known: make(map[string]stated), heard: func(s stated, _ source, news bool) {
			if news {
				believed = append(believed, s.Version)
			}
		}}
		for _, s := range statements {
			p.learn(s, pushed)
		}
		assert.IsIncreasing(t, append([]int64{0}, believed...))
		s, ok := p.lookUp("acme")
		assert.True(t, ok)
		assert.Equal(t, latest, s)
	}
}

func TestConcurrentMissesAreOneReadThatOutlivesTheFirst(t *testing.T) {
	t.Parallel()
	p, proxy, counter := newPolicies(t)
	want := publish(t, p, 3)
	proxy.Blackhole()
	first, giveUp := context.WithCancel(t.Context())
	failed, found := make(chan error, 1), make(chan stated, 10)
	go func() {
		_, err := p.get(first, "acme")
		failed <- err
	}()
	require.Eventually(t, func() bool { return counter.Counts()["Range"] == 1 }, programtest.Hang, time.Millisecond)
	for range cap(found) {
		go func() {
			s, err := p.get(t.Context(), "acme")
			assert.NoError(t, err)
			found <- s
		}()
	}
	require.Never(t, func() bool { return counter.Counts()["Range"] > 1 }, 100*time.Millisecond, 10*time.Millisecond)
	giveUp()
	require.ErrorIs(t, <-failed, context.Canceled)
	proxy.Heal()
	for range cap(found) {
		require.Equal(t, want, <-found)
	}
	require.Equal(t, 1, counter.Counts()["Range"])
}

func TestAPushDuringAMissIsNotUndoneByTheAnswer(t *testing.T) {
	t.Parallel()
	p, _, _ := newPolicies(t)
	publish(t, p, 3)
	old, err := p.client.Get(t.Context(), p.prefix+"acme")
	require.NoError(t, err)
	newer := publish(t, p, 4)
	p.learn(newer, pushed)
	require.NoError(t, p.learnFrom(old, []string{"acme"}, missed))
	s, err := p.get(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, newer, s)
}

func TestAPullFindsWhatWasNotPushed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p, _, _ := newPolicies(t)
	missing, err := p.get(ctx, "acme")
	require.NoError(t, err)
	require.Nil(t, missing.Policy)
	want := publish(t, p, 3)
	again, err := p.get(ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, missing, again, "that there is none is known too")
	require.NoError(t, p.pull(ctx))
	s, _ := p.lookUp("acme")
	require.Equal(t, want, s)

	resp, err := p.client.Delete(ctx, p.prefix+"acme")
	require.NoError(t, err)
	require.NoError(t, p.pull(ctx))
	s, _ = p.lookUp("acme")
	require.Equal(t, stated{Tenant: "acme", Version: resp.Header.Revision}, s)
	p.learn(want, pushed)
	s, _ = p.lookUp("acme")
	require.Nil(t, s.Policy, "a late push of what was deleted")
}

// newController returns one that leads, with a tenant's policy.
func newController(t *testing.T) (*controller, *election.Term) {
	t.Helper()
	ctx := t.Context()
	p, _, _ := newPolicies(t)
	p.learn(publish(t, p, 3), pushed)
	session, err := lease.NewSession(ctx, p.client)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, session.Close(context.WithoutCancel(ctx))) })
	e, err := election.New(session, "test/controller")
	require.NoError(t, err)
	term, err := e.Campaign(ctx, "r1")
	require.NoError(t, err)
	wanted, err := openProducts(ctx, p.client, root("test").info())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, wanted.Close(context.WithoutCancel(ctx))) })
	return &controller{client: p.client, root: "test", wanted: wanted, policies: p, failed: func(string, error) {}}, term
}

// wish changes what is wanted and waits until the controller knows.
func wish(t *testing.T, c *controller, op clientv3.Op) {
	t.Helper()
	resp, err := c.client.Txn(t.Context()).Then(op).Commit()
	require.NoError(t, err)
	require.NoError(t, c.wanted.WaitRevision(t.Context(), resp.Header.Revision))
}

func TestASweepStopsOnlyWhatNobodyWants(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c, term := newController(t)
	mail, wiki := c.root.wanted("acme", "mail"), c.root.wanted("acme", "wiki")
	for _, key := range []string{mail, wiki} {
		wish(t, c, clientv3.OpPut(key, product{Instances: 2}.json()))
		require.NoError(t, c.reconcile(ctx, term, key))
	}
	wish(t, c, clientv3.OpDelete(wiki))
	require.NoError(t, c.sweep(ctx, term))
	resp, err := c.client.Get(ctx, c.root.running(), clientv3.WithPrefix())
	require.NoError(t, err)
	require.Len(t, resp.Kvs, 1)
	require.Equal(t, c.root.actual(mail), string(resp.Kvs[0].Key))
	require.JSONEq(t, product{2, term.Token()}.json(), string(resp.Kvs[0].Value))
}

func TestTheWorldIsNotChangedFromWhatItWasBefore(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c, term := newController(t)
	key := c.root.actual(c.root.wanted("acme", "mail"))
	require.NoError(t, c.set(ctx, term, key, nil, 1))
	require.ErrorContains(t, c.set(ctx, term, key, nil, 2), "meanwhile")

	found, err := c.client.Get(ctx, key)
	require.NoError(t, err)
	require.NoError(t, term.Resign(ctx))
	require.ErrorIs(t, c.set(ctx, term, key, found.Kvs, 2), election.ErrResigned)
	now, err := c.client.Get(ctx, key)
	require.NoError(t, err)
	require.Equal(t, found.Kvs[0].ModRevision, now.Kvs[0].ModRevision)
}

func TestAProductIsRefusedAboveThePolicy(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c, term := newController(t)
	key := c.root.wanted("acme", "mail")
	wish(t, c, clientv3.OpPut(key, product{Instances: 4}.json()))
	require.ErrorContains(t, c.reconcile(ctx, term, key), "4 wanted, 3 allowed")
	c.policies.learn(publish(t, c.policies, 4), pushed)
	require.NoError(t, c.reconcile(ctx, term, key))

	other := c.root.wanted("nobody", "mail")
	wish(t, c, clientv3.OpPut(other, product{Instances: 1}.json()))
	require.ErrorContains(t, c.reconcile(ctx, term, other), "no policy")
}
