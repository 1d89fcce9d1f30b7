package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/conclave-go/conclave/examples/internal/programtest"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// Parts of the show, in order.
var parts = []string{
	`1/4  Three replicas`, `r\d is elected, term \d+`, `has \d running, by order of term \d+`,
	`6 products of 2 tenants, 4 at a time: [0-2] policies read`,
	`2/4  Policies change`, `pushed as 3rd, 1st, 2nd, 3rd`, `ignores version \d+ of acme, pushed`,
	`globex: version \d+, and the push is lost`, `learns version \d+ of globex, pulled`,
	`3/4  More is wanted`, `cannot see to globex/search: 9 wanted, 5 allowed`, `allows 9, pushed`, `globex/search has 9 running`,
	`4/4  The leader is killed`, `r\d, which leads, is killed`, `r\d is elected, term \d+`,
	`5 products are as they should be`,
}

func TestProductsEndAsTheyShouldBe(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, "-ttl", "3s", "-pull", "300ms")
	programtest.RequireInOrder(t, out, append([]string{`embedded etcd`}, parts...)...)
	_, last, _ := strings.Cut(out, "4/4")
	assert.Contains(t, last, "acme/mail has 2 running")
	assert.Contains(t, last, "acme/wiki is stopped")
}

func TestNamedClusterIsUsedWithItsUserAndLeftClean(t *testing.T) {
	t.Parallel()
	out := programtest.PlayNamed(t, "-ttl", "3s", "-pull", "300ms", "-prefix", "test/")
	programtest.RequireInOrder(t, out, parts...)
}

func TestInterruptLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	programtest.RequireInterruptible(t, "is killed (SIGKILL)")
}

func TestReplicasEndWhenTheirParentIsKilled(t *testing.T) {
	t.Parallel()
	programtest.RequireOrphansEnd(t, "2/4")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: tenants ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
		"pull":           {"-pull", "0s"},
		"no password":    {"-endpoints", "localhost:1", "-user", "u"},
	})
}

func TestHelpExplainsTheFlags(t *testing.T) {
	t.Parallel()
	out, code := programtest.Start(t, []string{"ETCDCTL_PASSWORD=secret"}, "-h").Finish(t)
	assert.Zero(t, code)
	assert.Contains(t, out, "-pull")
	assert.NotContains(t, out, "secret")
}
