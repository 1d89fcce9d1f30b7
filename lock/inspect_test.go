package lock_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lock"
)

func TestInspectShowsTheHolderAndThenTheQueue(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name := c.Prefix(t) + "m"
	client := c.Client(t)
	require.Empty(t, queueOf(t, client, name))

	owners := []string{"first", "second", "third"}
	peers := newPeers(t, c, len(owners))
	began := time.Now()
	h := peers[0].lock(t, name, lock.WithOwner(owners[0]))
	var outcomes []<-chan outcome
	for i, p := range peers[1:] {
		done, _ := p.queueUp(guarded(t), t, name, lock.WithOwner(owners[i+1]))
		outcomes = append(outcomes, done)
	}
	entries := queueOf(t, client, name)
	require.Len(t, entries, len(owners))
	for i, e := range entries {
		require.Equal(t, owners[i], e.Owner)
		require.Equal(t, i, e.Position)
		require.Equal(t, i == 0, e.Held())
		require.Equal(t, peers[i].LeaseID(t), e.Lease)
		require.WithinRange(t, e.Since, began.Add(-time.Millisecond), time.Now())
		require.Equal(t, get(t, client, e.Key).CreateRevision, e.Token.Revision())
	}
	require.Equal(t, h.Key(), entries[0].Key)
	for i, done := range outcomes {
		unlock(t, h)
		h = granted(t, done)
		require.Equal(t, entries[i+1].Token, h.Token(), "the token was known before")
		require.Equal(t, entries[i+1].Key, h.Key())
	}
	unlock(t, h)
	require.Empty(t, queueOf(t, client, name))
}

func TestInspectShowsEntriesThatOthersPut(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, name := c.Client(t), c.Prefix(t)+"m"
	for _, value := range []string{"", "not JSON", "null", "[1]", `{"owner":1}`} {
		key := name + "/~mutex/by hand"
		rev := put(t, client, key, value)
		require.Equal(t, []lock.Entry{{Mode: lock.ModeMutex, Key: key, Token: lock.Token(rev << 20)}}, queueOf(t, client, name), "%q", value)
		remove(t, client, key)
	}
}

func TestInspectRefusesBadInput(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client := c.Client(t)
	_, err := lock.Inspect(guarded(t), nil, "a")
	require.ErrorContains(t, err, "client is nil")
	_, err = lock.Inspect(guarded(t), client, "")
	require.ErrorContains(t, err, "name is empty")
	_, err = lock.Inspect(guarded(t), client, "a", nil)
	require.ErrorContains(t, err, "inspect option is nil")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = lock.Inspect(ctx, client, "a")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, `lock: inspecting "a"`)
}

func TestInspectWritesNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	h := p.lock(t, name)
	eventually(t, func() bool { // what is late is asked again
		p.Rec.Reset()
		queueOf(t, p.Client, name)
		return maps.Equal(map[string]int{"Range": 1, "LeaseTimeToLive": 1}, p.Rec.Counts())
	}, "two requests")
	require.Equal(t, clientv3.LeaseID(get(t, p.Client, h.Key()).Lease), p.LeaseID(t))
	unlock(t, h)
}
