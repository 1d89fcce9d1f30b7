package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/process"
)

func TestTourShowsEveryFailOver(t *testing.T) {
	t.Parallel()
	if !process.CanPause {
		t.Skip("no SIGSTOP here")
	}
	out := programtest.Play(t, nil)
	const order = `c\d leads, term \d+; waiting, in this order: c\d, c\d, c\d`
	programtest.RequireInOrder(t, out,
		order,
		`1/5  The leader is killed`,
		`c\d, the leader of term \d+, is killed \(SIGKILL\)`,
		`c\d is elected, term \d+, [\d.]+ m?s after the kill`,
		`c\d is started again`, order,
		`2/5  The leader is stopped`,
		`c\d is elected, term \d+, [\d.]+ m?s after the stop`,
		`c\d wakes up`, `c\d is told, [\d.]+ m?s after waking: election: lost`, `refused by etcd`, order,
		`3/5  The leader is cut off`,
		`c\d is told, [\d.]+ m?s after the cut: election: lost`,
		`c\d is elected, term \d+, [\d.]+ m?s after the cut`,
		`told [\d.]+ m?s before the next was elected`,
		`the cut is healed`, `refused by etcd`, order,
		`4/5  The leader gives its term`,
		`c\d gives term \d+ to c\d, past 2 others`, `c\d is elected, .* after the transfer`, order,
		`5/5  The leader resigns`, `c\d resigns from term \d+`, `c\d is elected, .* after the resignation`, order,
		`fail-over +min +median +max +the old one was told\n`,
		`crash +1( +[\d.]+ m?s){3}\n`,
		`pause +1( +[\d.]+ m?s){3}\n`,
		`partition +1( +[\d.]+ m?s){3} +[\d.]+ m?s before the next\n`,
		`transfer +1( +[\d.]+ m?s){3}\n`,
		`resign +1( +[\d.]+ m?s){3}\n`,
		`\d+ writes under their guard, and [2-9] too late, refused`,
		`Never two leaders`,
	)
}

func TestTransferIsToTheLastInTheQueue(t *testing.T) {
	t.Parallel()
	out := programtest.Play(t, nil, "-transfer", "-times", "3", "-candidates", "3")
	assert.Regexp(t, `\ntransfer +3 `, out)
	orders := regexp.MustCompile(`waiting, in this order: c\d, (c\d)\n`).FindAllStringSubmatch(out, -1)
	transfers := regexp.MustCompile(`gives term \d+ to (c\d), past 1 other\n.* (c\d) is elected`).FindAllStringSubmatch(out, -1)
	require.Len(t, transfers, 3)
	for i, transfer := range transfers {
		assert.Equal(t, orders[i][1], transfer[1], "the last in the queue")
		assert.Equal(t, transfer[1], transfer[2], "is elected")
	}
}

// named starts a cluster as users have them, and returns the variables that lead
// there.
func named(t *testing.T) (*clientv3.Client, []string) {
	t.Helper()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(t.Context()))
	return c.Client(t, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword)), []string{
		"ETCDCTL_ENDPOINTS=http://" + strings.TrimPrefix(c.Endpoints()[0], "http://"),
		"ETCDCTL_USER=" + etcdtest.RootUser + ":" + etcdtest.RootPassword,
	}
}

func TestNamedClusterIsUsedWithItsUserAndLeftClean(t *testing.T) {
	t.Parallel()
	client, environment := named(t)
	out := programtest.Play(t, environment, "-resign", "-prefix", "test/")
	assert.Contains(t, out, "etcd at http://")
	assert.Contains(t, out, "resigns from term")
	resp, err := client.Get(t.Context(), "\x00", clientv3.WithFromKey())
	require.NoError(t, err)
	assert.Empty(t, resp.Kvs)
}

// An operator who deletes the key of a leader that is cut off makes two leaders, which
// no library can prevent and this program has to notice.
func TestTwoLeadersAtOneTimeAreAFailure(t *testing.T) {
	t.Parallel()
	client, environment := named(t)
	path := filepath.Join(t.TempDir(), "p.html")
	r := programtest.Start(t, environment, "-partition", "-ttl", "5s", "-prefix", "test/", "-html", path)
	r.AwaitLine(t, "is cut off from etcd")
	oldest, err := client.Get(t.Context(), "test/", append(clientv3.WithFirstCreate(), clientv3.WithPrefix())...)
	require.NoError(t, err)
	require.Len(t, oldest.Kvs, 1)
	_, err = client.Delete(t.Context(), string(oldest.Kvs[0].Key))
	require.NoError(t, err)

	out, code := r.Finish(t)
	assert.Equal(t, 1, code, out)
	assert.Regexp(t, `two leaders for [\d.]+ m?s: c\d in term \d+ and c\d in term \d+`, r.Stderr.String())
	programtest.RequireInOrder(t, out, `told [\d.]+ m?s AFTER the next was elected`, `refused by etcd`, `AFTER the next\n`)
	assert.NotContains(t, out, "Never two leaders")
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	programtest.RequireInOrder(t, string(page), `What should not have happened: two leaders for`, `✗</span> BROKEN`, `id="act-1"`,
		`More than one held at once, before their deadlines: 1 time`, `2 held at once: c\d, c\d`)
}

func TestPageHasAChartForEachAct(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p.html")
	out := programtest.Play(t, nil, "-crash", "-resign", "-transfer", "-times", "2", "-html", path)
	assert.Contains(t, out, "\nThe time line is in "+path+"\n")
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	programtest.RequireInOrder(t, string(page),
		`<h1>Leaders that fail</h1>`, `<a href="#act-1">`, `<a href="#act-3">`, `<a href="#act-5">`,
		`id="act-1"`, `>crash</h2>`, `✓</span> HELD`, `the next knew`, `c\d: holds \S+, 0\.000 s to`, `c\d: killed`, `c\d: started again`,
		`id="act-2"`, `>crash</h2>`,
		`id="act-3"`, `>transfer</h2>`, `c\d: transfers`,
		`id="act-5"`, `>resign</h2>`, `c\d: resigns`,
		`id="act-6"`,
	)
	assert.NotContains(t, string(page), "act-7")
	assert.NotContains(t, string(page), "More than one held")
}

func TestKeysDoWhatFlagsDo(t *testing.T) {
	t.Parallel()
	c := programtest.Embedded(t)
	limited, cancel := context.WithTimeout(t.Context(), programtest.Hang)
	defer cancel()
	ctx, end := context.WithCancelCause(limited)
	read, write := io.Pipe()
	keys := make(chan string, 1)
	transfer := true
	o := options{
		settings: settings{candidates: 3, ttl: 2 * time.Second}, prefix: "test/", times: 5,
		named: map[string]*bool{"crash": new(bool), "pause": new(bool), "partition": new(bool), "transfer": &transfer, "resign": new(bool)},
	}
	go func() { // ends with ctx
		b, err := o.perform(ctx, c, &plain{screen.Lines{W: write, Failed: end}}, keys)
		_ = write.CloseWithError(errors.Join(err, b.record.verdict()))
	}()
	var all bytes.Buffer
	r := programtest.Read(io.TeeReader(read, &all))
	r.AwaitLine(t, "1/5")
	keys <- "r"
	r.AwaitLine(t, "The leader resigns")
	r.AwaitLine(t, "waiting, in this order")
	keys <- "?"
	keys <- "t"
	r.AwaitLine(t, "The leader gives its term")
	end(errEnough)
	_, err := io.ReadAll(r.Stdout)
	require.ErrorIs(t, err, errEnough)
	assert.NotContains(t, all.String(), "2/5", "the keys end the tour")
}

func TestRefusedTransferLeavesTheLeader(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cr, err := startCrew(ctx, programtest.Embedded(t), "test/", settings{candidates: 2, ttl: 2 * time.Second})
	require.NoError(t, err)
	defer func() { require.NoError(t, cr.close()) }()
	s := &stage{crew: cr, board: newBoard([]string{"c1", "c2"}), view: &plain{screen.Lines{W: io.Discard}}}
	leader, err := s.settle(ctx)
	require.NoError(t, err)
	fault, err := s.ask(ctx, leader, askTransfer+"nobody", transfers)
	require.NoError(t, err)
	_, err = s.successor(ctx, leader, fault)
	require.ErrorIs(t, err, errStays)
	still, err := s.settle(ctx)
	require.NoError(t, err)
	assert.Same(t, leader, still)
	s.leave(ctx)
	require.NoError(t, s.board.record.verdict())
}

func TestBadCommandLinesGetUsageAndCode2(t *testing.T) {
	t.Parallel()
	programtest.RequireUsage(t, "usage: failover ", map[string][]string{
		"unknown flag":    {"-nope"},
		"argument":        {"now"},
		"candidates":      {"-candidates", "1"},
		"many candidates": {"-candidates", "9"},
		"times":           {"-times", "0"},
		"fractional TTL":  {"-ttl", "1500ms"},
		"page in a void":  {"-html", filepath.Join(t.TempDir(), "no", "p.html")},
		"no password":     {"-endpoints", "localhost:1", "-user", "u"},
	})
}

func TestHelpExplainsTheFlags(t *testing.T) {
	t.Parallel()
	out, code := programtest.Start(t, []string{"ETCDCTL_PASSWORD=secret"}, "-h").Finish(t)
	assert.Zero(t, code)
	assert.Contains(t, out, "-transfer")
	assert.Contains(t, out, "-html file")
	assert.NotContains(t, out, "secret")
}
