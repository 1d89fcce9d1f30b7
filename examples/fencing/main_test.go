package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/examples/internal/theatre"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestACopyOfTheProgramNeedsNothingElse(t *testing.T) {
	t.Parallel()
	programtest.RequireCopy(t, "fencingMain", "stock.go")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: fencing ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
	})
}

func TestOnlyTheExpectedOutcomeIsASuccess(t *testing.T) {
	t.Parallel()
	stage := &theatre.Stage{Script: theatre.Script{Acts: programtest.Unseen(t)}}
	table := func(results ...result) error { return (&show{Stage: stage, results: results}).table() }
	refused := result{
		guarded: true, first: entry{Token: 1}, second: entry{Token: 2},
		late: entry{Token: 1, Error: "stale"}, told: entry{Error: "lost"}, left: shouldBeLeft,
	}
	accepted := refused
	accepted.guarded, accepted.late.Error, accepted.left = false, "", inStock-firstSells
	require.NoError(t, table(refused, accepted))
	for name, change := range map[string]func(guarded, unguarded *result){
		"accepted though guarded":  func(g, _ *result) { g.late.Error = "" },
		"refused though unguarded": func(_, u *result) { u.late.Error = "stale" },
		"lost though guarded":      func(g, _ *result) { g.left++ },
		"right though unguarded":   func(_, u *result) { u.left = shouldBeLeft },
		"not told":                 func(_, u *result) { u.told.Error = "" },
		"tokens do not rise":       func(g, _ *result) { g.first.Token = 2 },
	} {
		g, u := refused, accepted
		change(&g, &u)
		require.Error(t, table(g, u), name)
	}
}
