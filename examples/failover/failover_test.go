package main

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/internal/process"
)

func TestMain(m *testing.M) { programtest.Main(m, main) }

// patient is for a machine that does much else.
func patient(args ...string) []string { return append(args, "-ttl", "3s", "-slack", "60s") }

func TestTourShowsEveryFailOver(t *testing.T) {
	t.Parallel()
	if !process.CanPause {
		t.Skip("no SIGSTOP here")
	}
	path := filepath.Join(t.TempDir(), "p.html")
	out := programtest.Play(t, nil, patient("-html", path)...)
	const order = `c\d leads, term \d+, as all see; waiting, in this order: c\d, c\d, c\d`
	const next = `c\d leads [\d.]+ m?s later, with token \d+`
	programtest.RequireInOrder(t, out,
		`1/5  The leader is killed`, order, `c\d is killed \(SIGKILL\)`, next, `c\d is started again`, order,
		`2/5  The leader is paused`, `c\d is paused \(SIGSTOP\)`, next, `c\d's late write was refused: election: lost`, order,
		`3/5  The leader is cut off`, `c\d is cut off from etcd`, `c\d's time ended [\d.]+ m?s before c\d's began`,
		`the cut is healed`, `etcd has nothing from c\d after term \d+`, order,
		`4/5  The leader gives its term`, `c\d gives its term to c\d, past 2 others`, next, order,
		`5/5  The leader resigns`, `c\d resigns`, next, order,
		`times +min +median +max +the old one ended\n`,
		`crash +1( +[\d.]+ m?s){3}\n`, `pause +\d( +[\d.]+ m?s){3}\n`, `partition +1( +[\d.]+ m?s){3} +[\d.]+ m?s before\n`,
		`transfer +1( +[\d.]+ m?s){3}\n`, `resign +1( +[\d.]+ m?s){3}\n`,
		`No two holders overlapped before their deadlines, and tokens only rose`,
	)
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	programtest.RequireInOrder(t, string(page),
		`<h1>Leaders that fail</h1>`, `<a href="#act-1">`, `<a href="#act-5">`,
		`id="act-1"`, `crash`, `✓</span> HELD`, `c\d: killed`,
		`id="act-2"`, `pause`, `✓</span> HELD`, `c\d: stopped, [\d.]+ s to [\d.]+ s`, `late write refused`,
		`id="act-3"`, `partition`, `✓</span> HELD`, `c\d: cut off, [\d.]+ s to [\d.]+ s`, `c\d: told, [\d.]+ s. election: lost`,
		`id="act-5"`, `resign`, `✓</span> HELD`,
	)
}

func TestEachActIsPlayedAsOftenAsIsAsked(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, patient("-acts", "transfer", "-times", "3", "-candidates", "3")...)
	assert.Regexp(t, `\ntransfer +3 `, out)
	assert.Regexp(t, `3/3  The leader gives its term`, out)
}

func TestACandidateSaysWhoLeadsAndRefusesToResignIfItDoesNot(t *testing.T) {
	t.Parallel()
	c := &candidate{wishes: make(chan wish)}
	c.leader.Store(election.Leader{Owner: "c2", Value: "localhost:8080"})
	server := httptest.NewServer(c.handler())
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	require.NoError(t, err)
	var leader election.Leader
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&leader))
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "c2", leader.Owner)
	answer, err := ask(t.Context(), server.Listener.Addr().String(), "c3")
	require.NoError(t, err)
	require.Equal(t, "it does not lead", answer)
	leads := &candidate{wishes: make(chan wish, 1)}
	server = httptest.NewServer(leads.handler())
	defer server.Close()
	go func() { (<-leads.wishes).reply <- nil }() // ends with the request
	answer, err = ask(t.Context(), server.Listener.Addr().String(), "c3")
	require.NoError(t, err)
	require.Empty(t, answer)
}

func TestACopyOfTheProgramNeedsNothingElse(t *testing.T) {
	t.Parallel()
	programtest.RequireCopy(t, "failoverMain")
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: failover ", map[string][]string{
		"unknown flag":   {"-nope"},
		"argument":       {"now"},
		"candidates":     {"-candidates", "1"},
		"times":          {"-times", "0"},
		"fractional TTL": {"-ttl", "1500ms"},
		"page in a void": {"-html", filepath.Join(t.TempDir(), "no", "p.html")},
	})
}
