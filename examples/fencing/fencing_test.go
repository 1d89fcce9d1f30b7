//go:build (!race && !nosqlite) || sqlite

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/programtest"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// play runs the program to its end.
func play(t *testing.T, environment []string, args ...string) string {
	t.Helper()
	return programtest.Play(t, environment, append([]string{"-ttl", "1s"}, args...)...)
}

// The parts of the show, in order.
var (
	guardedPart = []string{
		`Guarded by "AND token <= \?"`,
		`w1 holds the lock, token \d+, and sees 10 bolts`,
		`w1 is (stopped|cut off from etcd)`,
		`w2 holds the lock, token \d+, and sees 10 bolts`,
		`w2 sells 4, so it writes 6: accepted`,
		`w1 sells 3, so it writes 7: refused: token \d+ < \d+`,
		`w1 is told by its Hold: lock: lost`,
		`w1 holds the lock, token \d+, and sees 6 bolts`,
		`w1 sells 3, so it writes 3: accepted`,
	}
	unguardedPart = []string{
		`Unguarded, without that`,
		`w2 sells 4, so it writes 6: accepted`,
		`w1 sells 3, so it writes 7: accepted`,
		`w1 is told by its Hold: lock: lost`,
	}
	unguardedRow = `\nunguarded +accepted, token \d+ +lost +7 +3\n`
)

func TestOnlyTheConditionOnTheTokenStopsTheLateWrite(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"-soft=false", "-soft"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			if flag == "-soft=false" && !workers.CanPause {
				t.Skip("no SIGSTOP here")
			}
			out := play(t, nil, flag)
			programtest.RequireInOrder(t, out, append(append([]string{`embedded etcd`}, guardedPart...), unguardedPart...)...)
			programtest.RequireInOrder(t, out, `\nguarded +refused: token \d+ < \d+ +lost +3 +3`+unguardedRow)
		})
	}
}

func TestNamedClusterIsUsedWithItsUserAndLeftClean(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(t.Context()))
	out := play(t, []string{
		"ETCDCTL_ENDPOINTS=" + c.Endpoints()[0],
		"ETCDCTL_USER=" + etcdtest.RootUser + ":" + etcdtest.RootPassword,
	}, "-unguarded")
	assert.NotContains(t, out, "embedded")
	assert.NotContains(t, out, "Guarded")
	programtest.RequireInOrder(t, out, append(unguardedPart, unguardedRow)...)
	client := c.Client(t, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	resp, err := client.Get(t.Context(), "\x00", clientv3.WithFromKey())
	require.NoError(t, err)
	assert.Empty(t, resp.Kvs)
}
