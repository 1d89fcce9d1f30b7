package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/examples/internal/screen"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: fencing ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"fractional TTL": {"-ttl", "1500ms"},
		"no password":    {"-endpoints", "localhost:1", "-user", "u"},
	})
}

func TestHelpExplainsTheFlags(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, []string{"ETCDCTL_PASSWORD=secret"}, "-h")
	assert.Contains(t, out, "-unguarded")
	assert.NotContains(t, out, "secret")
}

func TestOnlyTheExpectedOutcomeIsASuccess(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, null.Close()) })
	v := &view{screen.NewActs(null, func(err error) { assert.NoError(t, err) })}
	refused := result{
		act: act{guarded: true}, first: event{Token: 1}, second: event{Token: 2},
		late: event{Token: 1, Newer: 2}, told: event{Lost: "lost"}, left: shouldBeLeft,
	}
	accepted := refused
	accepted.guarded, accepted.late.Newer, accepted.left = false, 0, inStock-firstSells
	require.NoError(t, v.table([]result{refused, accepted}))
	for name, change := range map[string]func(guarded, unguarded *result){
		"accepted though guarded":  func(g, _ *result) { g.late.Newer = 0 },
		"refused though unguarded": func(_, u *result) { u.late.Newer = 2 },
		"lost though guarded":      func(g, _ *result) { g.left++ },
		"right though unguarded":   func(_, u *result) { u.left = shouldBeLeft },
		"not told":                 func(_, u *result) { u.told.Lost = "" },
		"tokens do not rise":       func(g, _ *result) { g.first.Token = 2 },
	} {
		g, u := refused, accepted
		change(&g, &u)
		require.Error(t, v.table([]result{g, u}), name)
	}
}
