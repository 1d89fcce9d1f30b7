package etcdtest_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// recorded returns a client and what sees its calls.
func recorded(t *testing.T) (*clientv3.Client, *etcdtest.Recorder, string) {
	t.Helper()
	c := etcdtest.New(t)
	r := &etcdtest.Recorder{}
	return c.Client(t, etcdtest.WithRecorder(r)), r, c.Prefix(t)
}

// putOnce is one call of Put.
func putOnce(t *testing.T, client *clientv3.Client, key string) {
	t.Helper()
	_, err := client.Put(guarded(t), key, "v")
	require.NoError(t, err)
}

func TestRecorderCountsCallsByMethod(t *testing.T) {
	t.Parallel()
	client, r, prefix := recorded(t)
	ctx := guarded(t)
	putOnce(t, client, prefix+"k")
	putOnce(t, client, prefix+"k")
	requireValue(t, client, prefix+"k", "v")
	lease, err := client.Grant(ctx, 60)
	require.NoError(t, err)
	_, err = client.KeepAliveOnce(ctx, lease.ID)
	require.NoError(t, err)
	_, err = client.Revoke(ctx, lease.ID)
	require.NoError(t, err)
	require.Equal(t, map[string]int{
		"Put": 2, "Range": 1, "LeaseGrant": 1, "LeaseKeepAlive": 1, "LeaseKeepAliveStream": 1, "LeaseRevoke": 1,
	}, r.Counts())
	require.Equal(t, 2, r.Count("Put"))
	require.Equal(t, 4, r.Writes())

	r.Reset()
	require.Zero(t, r.Count("Put"))
	require.Empty(t, r.Calls())
	sent, received := r.Bytes()
	require.Zero(t, sent)
	require.Zero(t, received)
}

func TestRecorderCountsWatchesByWhatIsSent(t *testing.T) {
	t.Parallel()
	client, r, prefix := recorded(t)
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	one := client.Watch(ctx, prefix+"a", clientv3.WithCreatedNotify())
	require.True(t, (<-one).Created)
	two := client.Watch(ctx, prefix+"b", clientv3.WithCreatedNotify())
	require.True(t, (<-two).Created)
	require.NoError(t, client.RequestProgress(ctx))
	require.Equal(t, 2, r.Count("Watch"))
	require.Equal(t, 1, r.Count("WatchStream"))
	require.Eventually(t, func() bool { return r.Count("WatchProgress") == 1 }, guard, time.Millisecond)
	cancel()
	require.Eventually(t, func() bool { return r.Count("WatchCancel") > 0 }, guard, time.Millisecond)

	creates := 0
	for _, call := range r.Calls() {
		require.True(t, call.Stream)
		require.False(t, call.IsWrite())
		if call.IsWatchCreate() {
			creates++
		}
	}
	require.Equal(t, 2, creates)
}

func TestRecorderKeepsCallsInOrderWithTheirMessages(t *testing.T) {
	t.Parallel()
	client, r, prefix := recorded(t)
	ctx := guarded(t)
	key := prefix + "k"
	put, get := clientv3.OpPut(key, "v"), clientv3.OpGet(key)
	txn := func(then, orElse []clientv3.Op) {
		_, err := client.Txn(ctx).Then(then...).Else(orElse...).Commit()
		require.NoError(t, err)
	}
	txn([]clientv3.Op{put}, nil)
	txn([]clientv3.Op{get}, nil)
	txn([]clientv3.Op{get}, []clientv3.Op{clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete(key)}, nil)})
	_, err := client.Get(ctx, key)
	require.NoError(t, err)
	_, err = client.Get(ctx, key, clientv3.WithRev(1<<40))
	require.Error(t, err)

	calls := r.Calls()
	var writes []bool
	for _, call := range calls {
		require.True(t, call.Done)
		writes = append(writes, call.IsWrite())
	}
	require.Equal(t, []bool{true, false, true, false, false}, writes)
	sent, ok := calls[0].Request.(*pb.TxnRequest)
	require.True(t, ok)
	require.Equal(t, key, string(sent.Success[0].GetRequestPut().Key))
	got, ok := calls[3].Response.(*pb.RangeResponse)
	require.True(t, ok)
	require.Equal(t, "v", string(got.Kvs[0].Value))
	require.NoError(t, calls[3].Err)
	require.Error(t, calls[4].Err)
	require.Nil(t, calls[4].Response)
	require.Positive(t, calls[0].Took)
}

func TestRecorderSeesAuthentication(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.EnableAuth(guarded(t)))
	r := &etcdtest.Recorder{}
	client := c.Client(t, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword), etcdtest.WithRecorder(r))
	putOnce(t, client, "k")
	require.Equal(t, 1, r.Count("Authenticate"))
	require.Equal(t, 2, r.Writes())
}

func TestRecorderCountsBytes(t *testing.T) {
	t.Parallel()
	client, r, prefix := recorded(t)
	_, err := client.Put(guarded(t), prefix+"k", string(make([]byte, 10_000)))
	require.NoError(t, err)
	sent, received := r.Bytes()
	require.Greater(t, sent, int64(10_000))
	require.Less(t, received, int64(200))
	require.Positive(t, received)
	_, err = client.Get(guarded(t), prefix+"k")
	require.NoError(t, err)
	_, received = r.Bytes()
	require.Greater(t, received, int64(10_000))
}

func TestDroppedRepliesAreOfCallsThatWereCarriedOut(t *testing.T) {
	t.Parallel()
	client, r, prefix := recorded(t)
	dropped := r.DropReplies("Put", 2)
	for _, key := range []string{"a", "b"} {
		_, err := client.Put(guarded(t), prefix+key, "v")
		require.Equal(t, codes.Unavailable, rpcCode(err), "%v", err)
		requireValue(t, client, prefix+key, "v")
	}
	<-dropped
	putOnce(t, client, prefix+"c")
	<-r.DropReplies("Put", 0)
}

func TestDropRepliesPassesOverCallsThatFail(t *testing.T) {
	t.Parallel()
	client, r, prefix := recorded(t)
	dropped := r.DropReplies("Put", 1)
	_, err := client.Put(guarded(t), prefix+"k", "v", clientv3.WithLease(12345))
	require.ErrorContains(t, err, "lease not found")
	select {
	case <-dropped:
		require.Fail(t, "a call that failed counted")
	default:
	}
	_, err = client.Put(guarded(t), prefix+"k", "v")
	require.Equal(t, codes.Unavailable, rpcCode(err))
	<-dropped
}

func TestFailedCallsDoNotReachTheServer(t *testing.T) {
	t.Parallel()
	client, r, prefix := recorded(t)
	failed := r.FailCalls("Put", 1, codes.ResourceExhausted)
	_, err := client.Put(guarded(t), prefix+"k", "v")
	require.Equal(t, codes.ResourceExhausted, rpcCode(err), "%v", err)
	<-failed
	resp, err := client.Get(guarded(t), prefix+"k")
	require.NoError(t, err)
	require.Empty(t, resp.Kvs)
}

func TestRetriesOfTheClientAreCallsOfTheirOwn(t *testing.T) {
	t.Parallel()
	client, r, prefix := recorded(t)
	failed := r.FailCalls("Range", 2, codes.Unavailable)
	_, err := client.Get(guarded(t), prefix+"k")
	require.NoError(t, err, "clientv3 repeats reads")
	<-failed
	require.Equal(t, 3, r.Count("Range"))
}

func TestHooksNestAndCanBeRemoved(t *testing.T) {
	t.Parallel()
	client, r, prefix := recorded(t)
	var trace []string
	hook := func(name, method string) func() {
		return r.Hook(method, func(_ context.Context, req any, invoke func() error) error {
			require.IsType(t, &pb.PutRequest{}, req)
			trace = append(trace, name)
			err := invoke()
			trace = append(trace, "end "+name)
			return err
		})
	}
	removeInner := hook("inner", "Put")
	removeOuter := hook("outer", "")
	hook("never", "Txn")
	putOnce(t, client, prefix+"k")
	require.Equal(t, []string{"outer", "inner", "end inner", "end outer"}, trace)

	removeOuter()
	trace = nil
	putOnce(t, client, prefix+"k")
	require.Equal(t, []string{"inner", "end inner"}, trace)
	removeInner()
	removeInner()
	trace = nil
	putOnce(t, client, prefix+"k")
	require.Empty(t, trace)
}

func TestStreamHookDropsWhatIsSent(t *testing.T) {
	t.Parallel()
	client, r, _ := recorded(t)
	lease, err := client.Grant(guarded(t), 60)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	var sent sync.Once
	remove := r.HookStream(func(method string, dir etcdtest.Direction, msg any) (bool, error) {
		require.Equal(t, "LeaseKeepAlive", method)
		require.IsType(t, &pb.LeaseKeepAliveRequest{}, msg, "nothing comes back for what was not sent")
		sent.Do(func() { time.AfterFunc(100*time.Millisecond, cancel) }) // in which an answer would come
		return dir == etcdtest.Send, nil
	})
	_, err = client.KeepAliveOnce(ctx, lease.ID)
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.Error(t, err)
	require.Positive(t, r.Count("LeaseKeepAlive"), "it counts: the client did send it")
	remove()
	_, err = client.KeepAliveOnce(guarded(t), lease.ID)
	require.NoError(t, err)
}

func TestStreamHookDropsWhatIsReceived(t *testing.T) {
	t.Parallel()
	client, r, prefix := recorded(t)
	watch := client.Watch(guarded(t), prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	require.True(t, (<-watch).Created)
	dropped := make(chan struct{}, 1)
	remove := r.HookStream(func(method string, dir etcdtest.Direction, msg any) (bool, error) {
		resp, ok := msg.(*pb.WatchResponse)
		if !ok || len(resp.Events) == 0 {
			return false, nil
		}
		require.Equal(t, "Watch", method)
		require.Equal(t, etcdtest.Recv, dir)
		dropped <- struct{}{}
		return true, nil
	})
	putOnce(t, client, prefix+"lost")
	<-dropped
	remove()
	putOnce(t, client, prefix+"seen")
	resp := <-watch
	require.Equal(t, prefix+"seen", string(resp.Events[0].Kv.Key))
}

func TestStreamHookBreaksAStreamThatTheClientOpensAnew(t *testing.T) {
	t.Parallel()
	client, r, prefix := recorded(t)
	watch := client.Watch(guarded(t), prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	require.True(t, (<-watch).Created)
	broken := make(chan struct{})
	var remove func()
	remove = r.HookStream(func(_ string, dir etcdtest.Direction, _ any) (bool, error) {
		if dir == etcdtest.Send {
			return false, nil
		}
		remove()
		close(broken)
		return false, status.Error(codes.Unavailable, "broken by the test")
	})
	putOnce(t, client, prefix+"k")
	<-broken
	resp := <-watch
	require.NoError(t, resp.Err())
	require.Equal(t, prefix+"k", string(resp.Events[0].Kv.Key), "seen by the second stream")
	require.Equal(t, 2, r.Count("WatchStream"))
	require.Equal(t, 2, r.Count("Watch"))
}
