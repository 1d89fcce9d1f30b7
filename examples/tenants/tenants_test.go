package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/examples/internal/theatre"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestProductsEndAsTheyShouldBe(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, "-ttl", "3s", "-pull", "300ms")
	programtest.RequireInOrder(t, out, `embedded etcd`,
		`1/4  Three replicas`, `r\d is elected, term \d+`, `has \d running, by order of term \d+`,
		`6 products of 2 tenants, 4 at a time: [0-2] policies read`,
		`2/4  Policies change`, `pushed as 3rd, 1st, 2nd, 3rd`, `ignores version \d+ of acme, pushed`,
		`globex: version \d+, and the push is lost`, `learns version \d+ of globex, pulled`,
		`3/4  More is wanted`, `cannot scale globex/search: 9 wanted, 5 allowed`, `allows 9, pushed`, `globex/search has 9 running`,
		`4/4  The leader is killed`, `r\d, which leads, is killed`, `r\d is elected, term \d+`,
		`5 products are as they should be`)
	_, last, _ := strings.Cut(out, "4/4")
	assert.Contains(t, last, "acme/mail has 2 running")
	assert.Contains(t, last, "acme/wiki is stopped")
}

func TestGoingBackAndReadingTwiceAreFailures(t *testing.T) {
	t.Parallel()
	hears := func(t *testing.T, lines ...string) (err error) {
		t.Helper()
		stage := &theatre.Stage{Script: theatre.Script{Acts: programtest.Unseen(t)}}
		s := &show{Stage: stage, knows: make(map[about]int64), reads: make(map[about]int)}
		for _, text := range lines {
			require.NoError(t, err)
			err = s.hear(theatre.Line{Copy: "r1", Msg: "learned", Text: []byte(text)})
		}
		return err
	}
	const missed, pushed = `{"tenant": "acme", "version": 7, "from": "missed"}`, `{"tenant": "acme", "version": 8, "from": "pushed"}`
	require.NoError(t, hears(t, missed, pushed))
	require.ErrorContains(t, hears(t, pushed, missed), "learns version 7 of acme after 8")
	require.ErrorContains(t, hears(t, missed, strings.Replace(missed, "7", "9", 1)), "has read it 2 times")
}

func TestAnOrderAfterThatOfALaterLeaderIsAFailure(t *testing.T) {
	t.Parallel()
	order := func(term string) *clientv3.Event {
		return &clientv3.Event{Kv: &mvccpb.KeyValue{Value: []byte(`{"Instances": 1, "Term": "` + term + `"}`)}}
	}
	stopped := &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: &mvccpb.KeyValue{}}
	require.NoError(t, theatre.CheckTokens([]*clientv3.Event{order("4"), stopped, order("4"), order("5")}, term))
	require.ErrorContains(t, theatre.CheckTokens([]*clientv3.Event{order("5"), order("4")}, term), "stale")
}

func TestInterruptLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "is killed (SIGKILL)")
}

func TestReplicasEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "2/4")
}

func TestACopyOfTheProgramNeedsNothingElse(t *testing.T) {
	t.Parallel()
	programtest.RequireCopy(t, "tenantsMain", "policies.go")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: tenants ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
		"pull":           {"-pull", "0s"},
	})
}
