package concurrency_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
)

// first has the first request of a kind answered by answer.
func first(rec *etcdtest.Recorder, kind string, answer func(ctx context.Context) error) (stop func()) {
	var once sync.Once
	return rec.Hook(kind, func(ctx context.Context, _ any, invoke func() error) error {
		is := false
		once.Do(func() { is = true })
		if is {
			return answer(ctx)
		}
		return invoke()
	})
}

func TestAMemberThatHasVanishedKeepsNoAdoptedSessionFromItsLocks(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, before := c.Prefix(t)+"m", newMember(t, c)
	before.Orphan()
	after := newMember(t, c, concurrency.WithLease(before.Lease()))
	vanished := func(ctx context.Context) error { return until(ctx, nil) }
	stop := first(after.rec, "Range", vanished)
	mutex := concurrency.NewMutex(after.Session, name)
	require.NoError(t, mutex.Lock(guarded(t)))
	stop()
	key := mutex.Key()
	require.NotNil(t, get(t, c.Client(t), key))
	after.Orphan()
	first(after.rec, "LeaseRevoke", vanished)
	require.NoError(t, after.Close())
	require.Nil(t, get(t, c.Client(t), key))
}

func TestAMemberWithoutALeaderRefusesAndAnotherIsAsked(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, m := c.Prefix(t)+"e", newMember(t, c)
	cutOff := func(ctx context.Context) error {
		md, _ := metadata.FromOutgoingContext(ctx)
		if len(md.Get(rpctypes.MetadataRequireLeaderKey)) == 0 {
			return until(ctx, nil)
		}
		return rpctypes.ErrGRPCNoLeader
	}
	e := concurrency.NewElection(m.Session, name)
	require.NoError(t, e.Campaign(guarded(t), "a"))
	key, rev := e.Key(), e.Rev()
	m.Orphan()

	first(m.rec, "LeaseGrant", cutOff)
	newSession(t, m.client, concurrency.WithTTL(400))
	resumed := concurrency.ResumeElection(newSession(t, m.client, concurrency.WithLease(m.Lease())), name, key, rev)
	stop := first(m.rec, "Txn", cutOff)
	require.NoError(t, resumed.Proclaim(guarded(t), "b"))
	stop()
	require.Equal(t, "b", string(get(t, c.Client(t), key).Value))
	stop = first(m.rec, "Txn", cutOff)
	require.NoError(t, resumed.Resign(guarded(t)))
	stop()
	require.Nil(t, get(t, c.Client(t), key))
	first(m.rec, "LeaseRevoke", cutOff)
	require.NoError(t, m.Close())
}

func TestARequestIsMadeAgainIfTheReasonOfItsFailurePasses(t *testing.T) {
	t.Parallel()
	for _, why := range []error{
		status.Error(codes.Unavailable, "error reading from server: EOF"), rpctypes.ErrGRPCRequestTooManyRequests,
		status.Error(codes.Unknown, "raft proposal dropped"),
	} {
		c := etcdtest.New(t)
		name, m := c.Prefix(t)+"m", newMember(t, c)
		put(t, m.client, name, "v")
		refused := m.rec.RefuseCalls("Txn", 2, why)
		run(t, m.client, func(s concurrency.STM) error {
			require.Equal(t, "v", s.Get(name))
			return nil
		})
		await(t, refused, "two are refused")
		m.Orphan()

		after := newMember(t, c, concurrency.WithLease(m.Lease()))
		refused = after.rec.RefuseCalls("Range", 2, why)
		require.NoError(t, concurrency.NewMutex(after.Session, name).Lock(guarded(t)))
		await(t, refused, "two are refused")
		after.Orphan()
		refused = after.rec.RefuseCalls("LeaseRevoke", 2, why)
		require.NoError(t, after.Close())
		await(t, refused, "two are refused")
	}
}

func TestARequestIsNotMadeAgainIfItIsRefused(t *testing.T) {
	t.Parallel()
	rec := &etcdtest.Recorder{}
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(rec))
	rec.RefuseCalls("Txn", 1, rpctypes.ErrGRPCPermissionDenied)
	_, err := concurrency.NewSTM(client, func(s concurrency.STM) error { s.Get("k"); return nil }, concurrency.WithAbortContext(guarded(t)))
	require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
	require.Equal(t, 1, rec.Count("Txn"))
}
