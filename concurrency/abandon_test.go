package concurrency_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// requireOnly requires that there is one key under a prefix.
func requireOnly(t *testing.T, client *clientv3.Client, prefix, key, what string) {
	t.Helper()
	resp, err := client.Get(guarded(t), prefix, clientv3.WithPrefix())
	require.NoError(t, err)
	require.Len(t, resp.Kvs, 1, what)
	require.Equal(t, key, string(resp.Kvs[0].Key))
}

// Nobody removes what waits under a lease that is left, for up to a TTL; and then it owns.
func TestASessionThatLeavesItsLeaseLeavesNobodyInAQueue(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, client, holder := c.Prefix(t), c.Client(t), newMember(t, c)
	mutex, e := concurrency.NewMutex(holder.Session, name+"m"), concurrency.NewElection(holder.Session, name+"e")
	require.NoError(t, mutex.Lock(guarded(t)))
	require.NoError(t, e.Campaign(guarded(t), "a"))
	for i := range 100 {
		for what, end := range endings(t) {
			ctx, cancel := context.WithCancel(guarded(t))
			m := &member{client: client, waits: make(chan string, 2)}
			m.Session = newSession(t, client, concurrency.WithContext(ctx), tellWaits(m.waits))
			want := concurrency.ErrSessionExpired
			if what == "its context's end" {
				want = context.Canceled
			}
			locks := m.waiting(t, func() error { return concurrency.NewMutex(m.Session, name+"m").Lock(ctx) })
			campaigns := m.waiting(t, func() error { return concurrency.NewElection(m.Session, name+"e").Campaign(ctx, "b") })
			end(m, cancel)
			what = fmt.Sprintf("%s, the %dth", what, i)
			require.Equal(t, want, await(t, locks, "Lock returns"), what)
			require.Equal(t, want, await(t, campaigns, "Campaign returns"), what)
			requireOnly(t, client, name+"m", mutex.Key(), what)
			requireOnly(t, client, name+"e", e.Key(), what)
			cancel()
		}
	}
	require.NoError(t, mutex.Unlock(guarded(t)))
	require.NoError(t, e.Resign(guarded(t)))
}
