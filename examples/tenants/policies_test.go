package main

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// newPolicies returns a cache, the way to its etcd, and what has gone there.
func newPolicies(t *testing.T) (*policies, *etcdtest.Net, *etcdtest.Recorder) {
	t.Helper()
	var asked etcdtest.Recorder
	client, net := etcdtest.New(t, etcdtest.WithControl()).ProxiedClient(t, etcdtest.WithRecorder(&asked))
	return &policies{client: client, known: make(map[string]policy)}, net, &asked
}

// publish stores the policy of acme, and returns what would be pushed.
func publish(t *testing.T, p *policies, limit int) policy {
	t.Helper()
	resp, err := p.client.Put(t.Context(), "policy/acme", strconv.Itoa(limit))
	require.NoError(t, err)
	return policy{"acme", limit, resp.Header.Revision}
}

func TestTheLatestIsBelievedHoweverPoliciesCome(t *testing.T) {
	t.Parallel()
	for range 200 {
		all := []policy{{"acme", 1, 11}, {"acme", 0, 12}, {"acme", 3, 13}, {"acme", 4, 14}}
		latest := all[len(all)-1]
		all = append(all, all...) // each twice
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		p := &policies{known: make(map[string]policy)}
		for _, s := range all {
			before := p.lookUp("acme").Version
			p.learn("pushed", s)
			assert.Equal(t, max(before, s.Version), p.lookUp("acme").Version)
		}
		assert.Equal(t, latest, p.lookUp("acme"))
	}
}

func TestConcurrentMissesAreOneReadThatOutlivesTheFirst(t *testing.T) {
	t.Parallel()
	p, net, asked := newPolicies(t)
	want := publish(t, p, 3)
	net.Cut()
	first, giveUp := context.WithCancel(t.Context())
	failed, found := make(chan error, 1), make(chan policy, 10)
	go func() {
		_, err := p.of(first, "acme")
		failed <- err
	}()
	require.Eventually(t, func() bool { return asked.Count("Range") == 1 }, programtest.Hang, time.Millisecond)
	for range cap(found) {
		go func() {
			s, err := p.of(t.Context(), "acme")
			assert.NoError(t, err)
			found <- s
		}()
	}
	require.Never(t, func() bool { return asked.Count("Range") > 1 }, 100*time.Millisecond, 10*time.Millisecond)
	giveUp()
	require.ErrorIs(t, <-failed, context.Canceled)
	net.Heal()
	for range cap(found) {
		require.Equal(t, want, <-found)
	}
	require.Equal(t, 1, asked.Count("Range"))
}

func TestAPushDuringAMissIsNotUndoneByTheAnswer(t *testing.T) {
	t.Parallel()
	p, _, _ := newPolicies(t)
	publish(t, p, 3)
	old, err := p.client.Get(t.Context(), "policy/acme")
	require.NoError(t, err)
	newer := publish(t, p, 4)
	p.learn("pushed", newer)
	require.NoError(t, p.learnFrom(old, "missed", []string{"acme"}))
	s, err := p.of(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, newer, s)
}

func TestAPullFindsWhatWasNotPushed(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p, _, _ := newPolicies(t)
	missing, err := p.of(ctx, "acme")
	require.NoError(t, err)
	require.Zero(t, missing.Limit)
	want := publish(t, p, 3)
	again, err := p.of(ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, missing, again, "that there is none is known too")
	require.NoError(t, p.pull(ctx))
	require.Equal(t, want, p.lookUp("acme"))

	resp, err := p.client.Delete(ctx, "policy/acme")
	require.NoError(t, err)
	require.NoError(t, p.pull(ctx))
	require.Equal(t, policy{Tenant: "acme", Version: resp.Header.Revision}, p.lookUp("acme"))
	p.learn("pushed", want)
	require.Zero(t, p.lookUp("acme").Limit, "a late push of what was deleted")
}
