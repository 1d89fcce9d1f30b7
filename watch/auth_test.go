package watch_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

const (
	user     = "app"
	password = "app-password"
	realm    = "app/"
)

// newRealm returns a cluster with authentication on, where user may touch the keys that
// begin with realm, and a client of the administrator.
func newRealm(t *testing.T) (c *etcdtest.Cluster, root *clientv3.Client) {
	t.Helper()
	c = etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.AddUser(guarded(t), user, password, realm))
	require.NoError(t, c.EnableAuth(guarded(t)))
	return c, c.Client(t, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword), etcdtest.WithFastReconnect())
}

func TestLackOfPermissionEndsTheStream(t *testing.T) {
	t.Parallel()
	c, root := newRealm(t)
	client := c.Client(t, etcdtest.WithUser(user, password))
	for _, opts := range [][]watch.Option{nil, {watch.WithSnapshot()}, {watch.WithRevision(1)}} {
		opts = append(opts, watch.WithPrefix())
		err := newTap(t, client, "other/", opts...).fails()
		require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
	}
	p := newTap(t, client, realm, watch.WithPrefix(), watch.WithSnapshot())
	require.True(t, p.next().Snapshot)
	rev := put(t, root, realm+"a", "1")
	require.Equal(t, []string{set(realm+"a", "1", rev)}, p.events(1))
}

// What has worked is missed when the watch is next opened, and heals when it comes back.
func TestPermissionTakenAwayAndGivenBackHeals(t *testing.T) {
	t.Parallel()
	c, root := newRealm(t)
	net := c.Net(t)
	client := c.Client(t, etcdtest.WithUser(user, password), etcdtest.ViaNet(net), etcdtest.WithFastReconnect())
	var book logBook
	p := newTap(t, client, realm, watch.WithPrefix(), watch.WithLogger(book.logger()))
	p.next()
	roles, err := root.UserGet(guarded(t), user)
	require.NoError(t, err)
	for _, role := range roles.Roles {
		_, err := root.UserRevokeRole(guarded(t), user, role)
		require.NoError(t, err)
	}
	net.Reset()
	eventually(t, func() bool { return strings.Contains(book.String(), "permission denied") }, "it says so")
	rev := put(t, root, realm+"a", "1")
	for _, role := range roles.Roles {
		_, err := root.UserGrantRole(guarded(t), user, role)
		require.NoError(t, err)
	}
	require.Equal(t, []string{set(realm+"a", "1", rev)}, p.upTo(rev))
	require.Equal(t, 1, strings.Count(book.String(), "level=WARN"), "once")
}

// A gRPC stream keeps the token it was opened with. When that has become invalid, the
// server refuses new watches on it, but not the ones there are.
func TestExpiredTokenIsReplacedByAnotherGRPCStream(t *testing.T) {
	t.Parallel()
	c, root := newRealm(t)
	client := c.Client(t, etcdtest.WithUser(user, password))
	older := newTap(t, client, realm, watch.WithPrefix())
	older.next()
	_, err := root.AuthDisable(guarded(t)) // which forgets all tokens
	require.NoError(t, err)
	_, err = c.Client(t).AuthEnable(guarded(t))
	require.NoError(t, err)
	newer := newTap(t, client, realm, watch.WithPrefix())
	newer.next()
	rev := put(t, root, realm+"a", "1")
	require.Equal(t, []string{set(realm+"a", "1", rev)}, newer.upTo(rev))
	require.Equal(t, []string{set(realm+"a", "1", rev)}, older.upTo(rev))
}

func TestExpiredTokenOfASharedGRPCStreamIsReplaced(t *testing.T) {
	t.Parallel()
	c, root := newRealm(t)
	client := c.Client(t, etcdtest.WithUser(user, password))
	var older *tap
	for range watch.MaxGRPCStreams + 1 {
		older = newTap(t, client, realm, watch.WithPrefix())
		older.next()
	}
	_, err := root.AuthDisable(guarded(t)) // which forgets all tokens
	require.NoError(t, err)
	_, err = c.Client(t).AuthEnable(guarded(t))
	require.NoError(t, err)
	newer := newTap(t, client, realm, watch.WithPrefix())
	newer.next()
	rev := put(t, root, realm+"a", "1")
	require.Equal(t, []string{set(realm+"a", "1", rev)}, newer.upTo(rev))
	require.Equal(t, []string{set(realm+"a", "1", rev)}, older.upTo(rev))
}

// A client with a user has its password checked for each gRPC stream that it opens, and a
// server that many come back to at once takes long to check it.
func TestAWatchThatTakesThreeStallLimitsToOpenIsOpened(t *testing.T) {
	t.Parallel()
	const checking = 3 * watch.MinStall
	var checks atomic.Int64
	slowly := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if method != "/etcdserverpb.Auth/Authenticate" {
			return invoke(ctx, method, req, reply, cc, opts...)
		}
		checks.Add(1)
		select {
		case <-time.After(checking):
			return invoke(ctx, method, req, reply, cc, opts...)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		require.NoError(t, enableAuth(t.Context(), s.Client()))
		client := s.Client(vtime.WithDialOptions(grpc.WithChainUnaryInterceptor(slowly)), vtime.WithConfig(func(c *clientv3.Config) {
			c.Username, c.Password = etcdtest.RootUser, etcdtest.RootPassword
		}))
		p := newTap(t, client, realm, watch.WithPrefix(), watch.WithStall(watch.MinStall))
		p.next()
		rev := put(t, client, realm+"a", "1")
		require.Equal(t, []string{set(realm+"a", "1", rev)}, p.events(1))
		require.Less(t, checks.Load(), int64(30), "it is asked less and less often")
	})
}

// enableAuth has one user, who may do everything.
func enableAuth(ctx context.Context, client *clientv3.Client) error {
	_, err := client.UserAdd(ctx, etcdtest.RootUser, etcdtest.RootPassword)
	if err != nil {
		return err
	}
	if _, err = client.UserGrantRole(ctx, etcdtest.RootUser, "root"); err != nil {
		return err
	}
	_, err = client.AuthEnable(ctx)
	return err
}
