package watch_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

// standstill makes a member seem to apply nothing any more: it answers on the streams for
// watches, tells the revision it had, and sends no event.
type standstill struct {
	mu       sync.Mutex
	member   uint64 // 0 for none
	revision int64
	heard    map[uint64]int // how many answers each member has given
}

func (s *standstill) hook(_ string, dir etcdtest.Direction, msg any) (drop bool, err error) {
	resp, ok := msg.(*pb.WatchResponse)
	if !ok || dir != etcdtest.Recv {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heard == nil {
		s.heard = make(map[uint64]int)
	}
	id := resp.Header.GetMemberId()
	s.heard[id]++
	if id == 0 || id != s.member {
		return false, nil
	}
	resp.Header.Revision = min(resp.Header.Revision, s.revision)
	return len(resp.Events) > 0, nil
}

// begin stops the member that has answered most.
func (s *standstill) begin(revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, n := range s.heard {
		if s.member == 0 || n > s.heard[s.member] {
			s.member = id
		}
	}
	s.revision = revision
}

// newBehind returns a client and what makes one of its members stand still.
func newBehind(t *testing.T, c *etcdtest.Cluster) (*clientv3.Client, *standstill) {
	t.Helper()
	var rec etcdtest.Recorder
	var s standstill
	rec.HookStream(s.hook)
	return c.Client(t, etcdtest.WithRecorder(&rec)), &s
}

// A member that answers and does not go on is left for one that has what a waiter waits
// for, and also if nobody waits.
func TestMemberThatStandsStillIsLeftThoughItAnswers(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	other := c.Client(t)
	const stall = 3 * time.Second // on a busy machine a member is silent for half a second
	for _, waits := range []bool{true, false} {
		client, still := newBehind(t, c)
		prefix := c.Prefix(t)
		cache := newTextCache(t, client, prefix, watch.WithStall(stall))
		before := put(t, other, prefix+"a", "1")
		require.NoError(t, cache.WaitRevision(guarded(t), before))
		still.begin(before)
		rev := put(t, other, prefix+"a", "2")
		if waits {
			require.NoError(t, cache.WaitRevision(guarded(t), rev))
		}
		eventually(t, func() bool { item, _ := cache.Get(prefix + "a"); return item.ModRevision == rev }, "it goes on")
		require.NoError(t, cache.Err())
	}
}

// So is one that has the gRPC stream which many share.
func TestMemberThatStandsStillIsLeftByThoseThatShareAStream(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	other, prefix := c.Client(t), c.Prefix(t)
	client, still := newBehind(t, c)
	const sharing = 10
	all := make([]*watch.Cache[string], watch.MaxGRPCStreams+sharing)
	for i := range all {
		all[i] = newTextCache(t, client, fmt.Sprint(prefix, i, "/"), watch.WithStall(watch.MinStall))
	}
	// Only the last ones share, and so the member of their stream answers most.
	still.mu.Lock()
	still.heard = nil
	still.mu.Unlock()
	var before int64
	for i, cache := range all[watch.MaxGRPCStreams:] {
		before = put(t, other, fmt.Sprint(prefix, watch.MaxGRPCStreams+i, "/a"), "1")
		require.NoError(t, cache.WaitRevision(guarded(t), before))
	}
	still.begin(before)
	for i, cache := range all {
		key := fmt.Sprint(prefix, i, "/a")
		rev := put(t, other, key, "2")
		eventually(t, func() bool { item, _ := cache.Get(key); return item.ModRevision == rev }, "it goes on")
	}
}

// The revision of a store that was set back, or of another one, is what its members have
// to come to, and no longer what another had.
func TestWhatAStoreHadBeforeItWasSetBackIsNotAskedOfItsMembers(t *testing.T) {
	t.Parallel()
	var l watch.Latest
	at := func(cluster uint64, revision int64) *pb.ResponseHeader {
		return &pb.ResponseHeader{ClusterId: cluster, Revision: revision}
	}
	l.Note(at(1, 10))
	l.Note(at(1, 9))
	require.EqualValues(t, 10, l.Of(1))
	require.Zero(t, l.Of(2))

	known, ok := l.Begin(0)
	require.True(t, ok)
	_, again := l.Begin(0)
	require.False(t, again, "one at a time")
	l.Note(at(1, 12))
	l.End(known, at(1, 11))
	require.EqualValues(t, 12, l.Of(1), "another member has told a later one meanwhile")

	known, _ = l.Begin(0)
	l.End(known, at(1, 5))
	require.EqualValues(t, 5, l.Of(1), "the store was set back")
	l.Note(at(2, 3))
	require.EqualValues(t, 3, l.Of(2), "another cluster answers")
	require.Zero(t, l.Of(1))
}
