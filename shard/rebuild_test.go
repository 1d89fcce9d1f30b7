package shard_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/shard"
	"github.com/conclave-go/conclave/watch"
)

// backup is a store of one member, as it was.
type backup struct {
	cluster    *etcdtest.Cluster
	data, copy string
}

// back makes a backup.
func back(t *testing.T, c *etcdtest.Cluster) backup {
	t.Helper()
	b := backup{c, filepath.Join(c.Etcd(0).Config().Dir, "member"), t.TempDir()}
	require.NoError(t, c.Kill(0))
	require.NoError(t, os.CopyFS(b.copy, os.DirFS(b.data)))
	require.NoError(t, c.Restart(guarded(t), 0))
	return b
}

// restore sets the store back.
func (b backup) restore(t *testing.T) {
	t.Helper()
	require.NoError(t, b.cluster.Kill(0))
	require.NoError(t, os.RemoveAll(b.data))
	require.NoError(t, os.CopyFS(b.data, os.DirFS(b.copy)))
	require.NoError(t, b.cluster.Restart(guarded(t), 0))
}

// guarded is a context for what does not take long.
func guarded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// owns has a member own a shard, as far as keys go.
func owns(t *testing.T, client *clientv3.Client, id int, member string) {
	t.Helper()
	queue := lockOf(shard.ID(id)) + "/~mutex/"
	_, err := client.Delete(guarded(t), queue, clientv3.WithPrefix())
	require.NoError(t, err)
	_, err = client.Put(guarded(t), queue+member, fmt.Sprintf(`{"owner":%q,"since":"2026-01-01T00:00:00+01:00"}`, member))
	require.NoError(t, err)
}

func TestARouterTakesOverARestoredStoreOnceAndTellsOfWhatDiffers(t *testing.T) {
	t.Parallel()
	const shards = 40
	c := etcdtest.New(t, etcdtest.WithControl())
	client := c.Client(t, etcdtest.WithFastReconnect())
	_, err := client.Put(guarded(t), group+"/shards", fmt.Sprint(shards))
	require.NoError(t, err)
	for id := range shards {
		owns(t, client, id, "a")
	}
	r, err := shard.NewRouter(guarded(t), client, group, shard.WithCacheOptions(watch.WithStall(watch.MinStall)))
	require.NoError(t, err)
	b := back(t, c)
	for range 30 {
		owns(t, client, 7, "b")
		owns(t, client, 8, "b")
	}
	owns(t, client, 8, "last")
	require.Eventually(t, func() bool { return owner(r, 8) == "last" }, time.Minute, time.Millisecond)

	got := make(chan shard.Change, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		for c, err := range r.Changes(ctx) {
			if err == nil && !c.Initial {
				got <- c
			}
		}
	}()
	before, _ := shard.Followed(r)
	_, edits := shard.Followed(r)
	b.restore(t)
	require.Eventually(t, func() bool { return owner(r, 7) == "a" && owner(r, 8) == "a" }, time.Minute, time.Millisecond)
	owns(t, client, 9, "c")
	require.Eventually(t, func() bool { return owner(r, 9) == "c" }, time.Minute, time.Millisecond)
	loads, now := shard.Followed(r)
	require.LessOrEqual(t, loads-before, 2, "at its beginning, and at its end")
	require.LessOrEqual(t, now-edits, int64(4), "two shards are as they were, and then one changes")
	cancel()
	<-followed
	close(got)
	for c := range got {
		require.Contains(t, []shard.ID{7, 8, 9}, c.Shard)
	}
	require.NoError(t, r.Close(t.Context()))
}

func owner(r *shard.Router, id shard.ID) string {
	route, _ := r.Owner(id)
	return route.Member
}

// The keys of a group whose name lies below the router's are in its cache as well.
func TestARouterThatWaitsForItsGroupDoesNotTakeOverTheStateWithEachChange(t *testing.T) {
	t.Parallel()
	client := etcdtest.New(t).Client(t)
	for n := range 50 {
		_, err := client.Put(guarded(t), fmt.Sprintf("%s/below/shard/%d/~mutex/x", group, n), "{}")
		require.NoError(t, err)
	}
	made := make(chan *shard.Router, 1)
	go func() {
		r, err := shard.NewRouter(guarded(t), client, group)
		if err != nil {
			t.Error(err)
		}
		made <- r
	}()
	for n := range 50 {
		_, err := client.Put(guarded(t), fmt.Sprintf("%s/below/shard/%d/~mutex/y", group, n), "{}")
		require.NoError(t, err)
	}
	_, err := client.Put(guarded(t), group+"/shards", "4")
	require.NoError(t, err)
	r := <-made
	require.Equal(t, 4, r.Shards())
	loads, _ := shard.Followed(r)
	require.LessOrEqual(t, loads, 2)
	require.NoError(t, r.Close(t.Context()))
}
