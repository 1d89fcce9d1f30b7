package election

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/watch"
)

// An observer that comes during a gap reads who leads then. If that leader has gone when the
// gap ends, and all is as before the gap, the observer has to be told nonetheless.
func TestAStateThatIsAsBeforeAGapIsTold(t *testing.T) {
	t.Parallel()
	f := &follower{place: place{prefix: "e/"}, changed: make(chan struct{})}
	var candidates roll
	leads := func(key string, revision int64) *clientv3.Event {
		return &clientv3.Event{Kv: &mvccpb.KeyValue{Key: []byte(key), CreateRevision: revision, ModRevision: revision, Version: 1}}
	}
	f.take(&candidates, watch.Batch{Snapshot: true, Revision: 5})
	f.take(&candidates, watch.Batch{Revision: 7}) // an observer that has read the leader as of 8 goes on from here
	_, next, more, err := f.from(0)
	require.NoError(t, err)
	f.take(&candidates, watch.Batch{Resync: true, Revision: 9})
	news, next, _, err := f.from(next)
	require.NoError(t, err)
	require.Len(t, news, 1)
	require.False(t, news[0].leader.Exists())
	require.EqualValues(t, 9, news[0].revision)
	<-more

	f.take(&candidates, watch.Batch{Events: []*clientv3.Event{leads("e/1", 10)}, Revision: 10})
	f.take(&candidates, watch.Batch{Events: []*clientv3.Event{leads("e/2", 11)}, Revision: 11})
	news, _, _, err = f.from(next)
	require.NoError(t, err)
	require.Len(t, news, 1, "a change of another candidate is none of the leader")
}
