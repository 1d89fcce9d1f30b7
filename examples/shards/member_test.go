package main

import (
	"bufio"
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/shard"
)

// owning returns ownerships of one shard, one after the other, of two members.
func owning(t *testing.T) (older, newer *shard.Ownership) {
	t.Helper()
	client := conclavetest.NewCluster(t).Client(t)
	owned := make(chan *shard.Ownership)
	for range 2 {
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(10*time.Second))
		require.NoError(t, err)
		member, err := shard.Join(t.Context(), session, "g", "a", func(ctx context.Context, o *shard.Ownership) error {
			owned <- o
			select {
			case <-o.Leaving():
			case <-ctx.Done():
			}
			return nil
		}, shard.WithShards(1), shard.WithDrainTimeout(10*time.Millisecond))
		require.NoError(t, err)
		older, newer = newer, <-owned
		if older == nil {
			require.NoError(t, member.Close(t.Context()))
			require.NoError(t, session.Close(t.Context()))
			continue
		}
		t.Cleanup(func() {
			require.NoError(t, member.Close(context.Background()))
			require.NoError(t, session.Close(context.Background()))
		})
	}
	return older, newer
}

func TestTheLedgerSeesTwoOwnersAndTokensThatDoNotRise(t *testing.T) {
	t.Parallel()
	older, newer := owning(t)

	good := newLedger()
	began := time.Now()
	good.end(good.begin("m1", newer))
	all, err := good.since(began)
	require.NoError(t, err)
	require.Empty(t, all)
	require.Equal(t, 1, good.grants())

	handed := newLedger()
	handed.begin("m1", older) // which ended at a time that it knows
	handed.begin("m2", newer)
	all, err = handed.since(began)
	require.NoError(t, err)
	require.Len(t, all, 1)
	all, err = handed.since(time.Now())
	require.NoError(t, err)
	require.Empty(t, all)

	falling := newLedger()
	falling.end(falling.begin("m1", newer))
	falling.begin("m2", older)
	_, err = falling.since(began)
	require.ErrorContains(t, err, "shard 0: m1 had it with token")

	together := newLedger()
	together.begin("m1", newer)
	together.begin("m2", newer)
	_, err = together.since(began)
	require.ErrorContains(t, err, "shard 0: m1 had it with token")
}

func TestAMemberCountsOnFromWhatWasLeftAndSaysWhatItHas(t *testing.T) {
	t.Parallel()
	etcd := conclavetest.NewCluster(t)
	client := etcd.Client(t)
	count := func() int {
		n, err := load(t.Context(), client, "g/count/5")
		require.NoError(t, err)
		return n
	}
	_, err := client.Put(t.Context(), "g/count/5", "1000")
	require.NoError(t, err)
	o, err := parse([]string{"-endpoints", etcd.Endpoints()[0], "-member", "a", "-group", "g", "-ttl", "10s"}, io.Discard)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := cluster.Open(ctx, o.etcd)
	require.NoError(t, err)
	said, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- beMember(ctx, c, o, out)
		_ = out.Close()
	}()
	lines := bufio.NewScanner(said)
	for range 64 {
		require.True(t, lines.Scan())
		require.Regexp(t, `^shard \d+: mine, token \d+$`, lines.Text())
	}
	rest := make(chan string, 1)
	go func() {
		text := ""
		for lines.Scan() {
			text += lines.Text() + "\n"
		}
		rest <- text
	}()
	changes := client.Watch(ctx, "g/count/5")
	for resp := range changes {
		if len(resp.Events) > 0 && count() > 1001 {
			break
		}
	}
	owners, err := lock.Inspect(t.Context(), client, "g/shard/5")
	require.NoError(t, err)
	require.Len(t, owners, 1)
	cancel()
	require.NoError(t, <-ended)
	require.Regexp(t, `shard 5: to go, token \d+\n`, <-rest)
	left, err := client.Get(t.Context(), "g/shard/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Empty(t, left.Kvs)
	require.NoError(t, c.Close())
}
