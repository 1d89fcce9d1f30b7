package lease_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
)

const (
	user     = "app"
	password = "app-password"
	realm    = "app/"
)

// newGuardedCluster returns a cluster with authentication on, where user may touch
// the keys below realm and no others.
func newGuardedCluster(t *testing.T) *etcdtest.Cluster {
	t.Helper()
	c := etcdtest.New(t, etcdtest.WithControl())
	require.NoError(t, c.AddUser(guarded(t), user, password, realm))
	require.NoError(t, c.EnableAuth(guarded(t)))
	return c
}

func TestRenewalsDoNotCostAPasswordCheckEach(t *testing.T) {
	t.Parallel()
	c := newGuardedCluster(t)
	var rec etcdtest.Recorder
	p := newPulse()
	s := newSession(t, c.Client(t, etcdtest.WithRecorder(&rec), etcdtest.WithUser(user, password)), lease.WithTTL(calm), p.observe())
	_, err := lease.Register(guarded(t), s, realm+"k", "v")
	require.NoError(t, err)
	p.round(t, liveLease(t, s)) // opens the stream, which is a check
	checks := rec.Count("Authenticate")
	require.Positive(t, checks, "checks are counted")
	rec.Reset()
	const rounds = 10
	for range rounds {
		p.round(t, liveLease(t, s))
	}
	require.Equal(t, map[string]int{"LeaseKeepAlive": rounds, "Txn": rounds}, rec.Counts())
}

func TestARoleThatMayTouchOnePrefixOnlyIsEnough(t *testing.T) {
	t.Parallel()
	c := newGuardedCluster(t)
	root := newOperator(t, c, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	var rec etcdtest.Recorder
	p := newPulse()
	s := newSession(t, c.Client(t, etcdtest.WithRecorder(&rec), etcdtest.WithUser(user, password)),
		lease.WithTTL(calm), p.observe(), p.listen())
	l := liveLease(t, s)

	// Without a key of its own to look at, what confirms a renewal is the member list.
	p.round(t, l)
	rec.Reset()
	p.round(t, l)
	p.round(t, l)
	require.Equal(t, map[string]int{"LeaseKeepAlive": 2, "MemberList": 2}, rec.Counts(), "a refused read is not repeated")

	r, err := lease.Register(guarded(t), s, realm+"k", "v")
	require.NoError(t, err)
	rec.Reset()
	p.round(t, l)
	require.Equal(t, map[string]int{"LeaseKeepAlive": 1, "Txn": 1}, rec.Counts())

	_, err = lease.Register(guarded(t), s, "elsewhere", "v")
	require.Equal(t, codes.PermissionDenied, attempt.Code(err), "%v", err)
	require.ErrorContains(t, err, "elsewhere")
	p.round(t, l)
	require.NoError(t, r.Update(guarded(t), "w"), "the other is not affected")
	require.Equal(t, lease.Healthy, l.State())
	require.Empty(t, p.states)

	root.remove(t, realm+"k")
	events := root.watch(t, realm+"k")
	p.round(t, l)
	require.Equal(t, "w", string(awaitPut(t, events).Kv.Value))
}

// One key that the server refuses must not keep the others of its batch away.
func TestARefusedRegistrationDoesNotAffectItsBatch(t *testing.T) {
	t.Parallel()
	c := newGuardedCluster(t)
	root := newOperator(t, c, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	p := newPulse()
	s := newSession(t, c.Client(t, etcdtest.WithUser(user, password)), lease.WithTTL(calm), p.observe())
	const shared = "shared/k"
	_, err := root.RoleGrantPermission(guarded(t), user, shared, "", clientv3.PermissionType(clientv3.PermReadWrite))
	require.NoError(t, err)
	ours, err := lease.Register(guarded(t), s, realm+"k", "v")
	require.NoError(t, err)
	theirs, err := lease.Register(guarded(t), s, shared, "v")
	require.NoError(t, err)

	_, err = root.RoleRevokePermission(guarded(t), user, shared, "")
	require.NoError(t, err)
	root.revoke(t, liveLease(t, s).ID())
	inside.Keys(liveLease(t, s)).Hurry()
	require.Error(t, await(t, p.lost, "the loss"))
	eventually(t, func() bool { return ours.Err() == nil }, "in place again")
	root.requireKey(t, realm+"k", "v", liveLease(t, s).ID())
	eventually(t, func() bool { return attempt.Code(theirs.Err()) == codes.PermissionDenied }, "the other tells why not")
	require.Equal(t, codes.PermissionDenied, attempt.Code(theirs.Update(guarded(t), "w")))

	// Allowed again, the next thing asked for is done.
	_, err = root.RoleGrantPermission(guarded(t), user, shared, "", clientv3.PermissionType(clientv3.PermReadWrite))
	require.NoError(t, err)
	require.NoError(t, theirs.Update(guarded(t), "w"))
	root.requireKey(t, shared, "w", liveLease(t, s).ID())
}

// etcd renews a lease only for those who may write each of its keys.
func TestASessionThatMayNotWriteOneOfItsKeysAnyMoreSaysSoAndLosesItsLease(t *testing.T) {
	t.Parallel()
	c := newGuardedCluster(t)
	root := newOperator(t, c, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	const shared = "shared/k"
	_, err := root.RoleGrantPermission(guarded(t), user, shared, "", clientv3.PermissionType(clientv3.PermReadWrite))
	require.NoError(t, err)
	client := c.Client(t, etcdtest.WithUser(user, password))
	var log page
	p, other := newPulse(), newPulse()
	s := newSession(t, client, lease.WithTTL(unhurried), p.observe(), log.option())
	bystander := newSession(t, client, lease.WithTTL(calm), other.observe())
	for _, key := range []string{realm + "k", shared} {
		_, err = lease.Register(guarded(t), s, key, "v")
		require.NoError(t, err)
	}
	l := liveLease(t, s)
	p.round(t, l)

	_, err = root.RoleRevokePermission(guarded(t), user, shared, "")
	require.NoError(t, err)
	inside.Keys(l).Hurry()
	eventually(t, func() bool { return strings.Contains(log.String(), "lease: renewal refused") }, "a warning")
	for range 10 { // the two share a stream
		other.round(t, liveLease(t, bystander))
	}
	require.ErrorContains(t, await(t, p.lost, "the loss"), "the user may not write every key of the lease")
	require.Equal(t, 1, strings.Count(log.String(), "lease: renewal refused"))
}
