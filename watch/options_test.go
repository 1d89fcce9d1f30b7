package watch_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

func TestBadInputIsTheOnlyItem(t *testing.T) {
	t.Parallel()
	client := etcdtest.New(t).Client(t)
	tests := []struct {
		name   string
		client *clientv3.Client
		key    string
		opts   []watch.Option
		says   string
	}{
		{"nil client", nil, "k", nil, "client is nil"},
		{"client without connection", clientv3.NewCtxClient(t.Context()), "k", nil, "no connection"},
		{"empty key", client, "", nil, "WithKeyspace"},
		{"empty prefix", client, "", []watch.Option{watch.WithPrefix()}, "WithKeyspace"},
		{"keyspace with a key", client, "k", []watch.Option{watch.WithKeyspace()}, `key "k": must be empty`},
		{"nil option", client, "k", []watch.Option{nil}, "option is nil"},
		{"revision 0", client, "k", []watch.Option{watch.WithRevision(0)}, "start revision 0: must be at least 1"},
		{"negative revision", client, "k", []watch.Option{watch.WithRevision(-7)}, "start revision -7: must be at least 1"},
		{"revision and snapshot", client, "k", []watch.Option{watch.WithRevision(7), watch.WithSnapshot()}, "start revision 7: not allowed with WithSnapshot"},
		{"short stall limit", client, "k", []watch.Option{watch.WithStall(time.Millisecond)}, "stall limit 1ms: must be from 1s to 24h0m0s"},
		{"endless stall limit", client, "k", []watch.Option{watch.WithStall(math.MaxInt64)}, "must be from 1s to 24h0m0s"},
		{"no buffer", client, "k", []watch.Option{watch.WithBuffer(0)}, "buffer of 0 bytes: must be at least 1"},
		{"nil logger", client, "k", []watch.Option{watch.WithLogger(nil)}, "logger is nil"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			items := 0
			for b, err := range watch.Stream(t.Context(), tt.client, tt.key, tt.opts...) {
				items++
				require.Zero(t, b)
				require.ErrorContains(t, err, "watch: ")
				require.ErrorContains(t, err, tt.says)
			}
			require.Equal(t, 1, items)
		})
	}
}

func TestAllBadInputsAreNamed(t *testing.T) {
	t.Parallel()
	for _, err := range watch.Stream(t.Context(), nil, "", watch.WithRevision(-1), watch.WithBuffer(-2)) {
		for _, what := range []string{"client", "key", "-1", "-2"} {
			require.ErrorContains(t, err, what)
		}
	}
}

func TestStartRevisionInTheFutureIsAnError(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client := c.Client(t)
	rev := put(t, client, "k", "v")
	err := newTap(t, client, "k", watch.WithRevision(rev+2), watch.WithStall(watch.MaxStall)).fails()
	require.ErrorIs(t, err, watch.ErrFutureRevision)
	var future *watch.FutureRevisionError
	require.ErrorAs(t, err, &future)
	require.Equal(t, watch.FutureRevisionError{Requested: rev + 2, Current: rev}, *future)
}

func TestCompactedStartRevisionIsAnError(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client := c.Client(t)
	first := put(t, client, "k", "1")
	put(t, client, "k", "2")
	last := put(t, client, "k", "3")
	require.Equal(t, last, compact(t, client))
	err := newTap(t, client, "k", watch.WithRevision(first)).fails()
	require.ErrorIs(t, err, watch.ErrCompacted)
	var compacted *watch.CompactedError
	require.ErrorAs(t, err, &compacted)
	require.Equal(t, watch.CompactedError{Requested: first, Compacted: last}, *compacted)
	require.NotErrorIs(t, err, context.Canceled)

	require.Equal(t, []string{set("k", "3", last)}, newTap(t, client, "k", watch.WithRevision(last)).events(1))
}
