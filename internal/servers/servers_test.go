package servers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/servers"
	"github.com/conclave-go/conclave/internal/suite"
)

// hang bounds what should have happened long before.
const hang = 5 * time.Minute

func TestMain(m *testing.M) {
	process.Main(map[string]process.Role{servers.MemberRole: servers.Member})
	goleak.VerifyTestMain(suite.Of(m, "OutlivesWhatIsDone", "ThatLags", "ThatIsReplaced", "LearnerJoins", "SlowAndLossy", "DiskThatStalls", "WasAway", "AnotherVersion"))
}

func guarded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	t.Cleanup(cancel)
	return ctx
}

// put requires that the cluster takes writes.
func put(ctx context.Context, t *testing.T, c *clientv3.Client) {
	t.Helper()
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := c.Put(ctx, "k", "v")
		return err == nil
	}, hang, time.Millisecond)
}

func TestAClusterOutlivesWhatIsDoneToOneOfItsMembers(t *testing.T) {
	t.Parallel()
	ctx := guarded(t)
	e, err := servers.StartEtcd(ctx)
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	put(ctx, t, e.Client())
	leader := func(except int) int {
		t.Helper()
		i := except
		require.Eventually(t, func() bool {
			i, err = e.Leader(ctx)
			return err == nil && i != except
		}, hang, 10*time.Millisecond)
		return i
	}
	first, second := -1, -1
	require.Eventually(t, func() bool { // another may be elected meanwhile
		first = leader(-1)
		moved := e.MoveLeader(ctx)
		second = leader(-1)
		return moved == nil && second != first
	}, hang, 10*time.Millisecond)
	require.NoError(t, e.Pause(ctx, second))
	third := leader(second)
	put(ctx, t, e.Client())
	require.NoError(t, e.Resume(second))
	require.NoError(t, e.Isolate(third))
	fourth := leader(third)
	put(ctx, t, e.Client())
	require.NoError(t, e.Mend())
	require.NoError(t, e.Kill(fourth))
	leader(fourth)
	put(ctx, t, e.Client())
	require.Eventually(t, func() bool {
		err := e.Compact(ctx)
		return err == nil || errors.Is(err, rpctypes.ErrCompacted) // an attempt that seemed to fail
	}, hang, 10*time.Millisecond)
	require.NoError(t, e.Restart(ctx, fourth))
	resp, err := e.Client().Get(ctx, "k")
	require.NoError(t, err)
	require.Len(t, resp.Kvs, 1)
}

func TestAMemberThatEndsByItselfIsReported(t *testing.T) {
	t.Parallel()
	ctx := guarded(t)
	e, err := servers.StartEtcd(ctx)
	require.NoError(t, err)
	for i := range 2 {
		p, err := os.FindProcess(e.PID(i))
		require.NoError(t, err)
		require.NoError(t, p.Kill())
		var gone error
		require.Eventually(t, func() bool { gone = e.Pause(ctx, i); return gone != nil }, hang, time.Millisecond)
		require.EqualError(t, gone, fmt.Sprintf("member%d ended: signal: killed", i+1))
	}
	require.ErrorContains(t, e.Kill(0), "member1 ended: signal: killed")
	err = e.Close()
	require.ErrorContains(t, err, "member2 ended: signal: killed")
	require.NotContains(t, err.Error(), "member1")
	require.NotContains(t, err.Error(), "member3", "it was killed by Close")
}

func TestAClusterIsAsLargeAndAsDurableAsItIsWanted(t *testing.T) {
	t.Parallel()
	ctx, dir := guarded(t), t.TempDir()
	e, err := servers.StartEtcd(ctx, servers.WithOneMember(), servers.WithFsync(), servers.WithDataIn(dir))
	require.NoError(t, err)
	require.Len(t, e.Endpoints(), 1)
	put(ctx, t, e.Client())
	for range 10 {
		put(ctx, t, e.Client())
	}
	durable := fsyncs(ctx, t, e)
	require.GreaterOrEqual(t, durable, 10.0)
	data, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, data, 1)
	require.NoError(t, e.Close())
	data, err = os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, data)
}

// fsyncs returns how often the first member has written its log to disk.
func fsyncs(ctx context.Context, t *testing.T, e *servers.Etcd) (count float64) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.Endpoints()[0]+"/metrics", nil)
	require.NoError(t, err)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	const name = "\netcd_disk_wal_fsync_duration_seconds_count "
	_, after, found := strings.Cut(string(body), name)
	require.True(t, found)
	_, err = fmt.Sscan(after, &count)
	require.NoError(t, err)
	return count
}

func TestAReplicaThatLagsTakesOverWithoutTheKey(t *testing.T) {
	t.Parallel()
	if !servers.HasRedis() {
		t.Skipf("SKIPPED %s: no redis-server", t.Name())
	}
	ctx := guarded(t)
	r, err := servers.StartRedis(ctx, 2)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	require.NoError(t, r.Replicate(ctx, 0, 1))
	require.NoError(t, r.Node(0).Admin().Set(ctx, "copied", 1, 0).Err())
	require.Eventually(t, func() bool { return r.Node(1).Admin().Exists(ctx, "copied").Val() == 1 }, hang, time.Millisecond)
	require.NoError(t, r.Lag(ctx, 1, "k"))
	require.NoError(t, r.Node(0).Admin().Set(ctx, "k", 1, 0).Err())
	require.NoError(t, r.FailOver(ctx, 0, 1))
	require.NoError(t, r.Node(1).Admin().Set(ctx, "new", 1, 0).Err(), "it serves")
	require.Zero(t, r.Node(1).Admin().Exists(ctx, "k").Val())
	require.NoError(t, r.Node(0).Revive(ctx))
	require.NoError(t, r.Replicate(ctx, 1, 0))
	require.Equal(t, int64(1), r.Node(0).Admin().Exists(ctx, "new").Val())
}

func TestClocksOfSomeNodesJump(t *testing.T) {
	t.Parallel()
	ctx := guarded(t)
	r, err := servers.StartRedis(ctx, 3)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	for i := range 3 {
		require.NoError(t, r.Node(i).Admin().Set(ctx, "k", 1, 30*time.Second).Err())
	}
	require.NoError(t, r.Jump(ctx, 2, time.Minute, "k"))
	for i, want := range []int64{0, 0, 1} {
		require.Equal(t, want, r.Node(i).Admin().Exists(ctx, "k").Val())
	}
	require.NoError(t, r.Jump(ctx, 2, 0, "k"))
}
