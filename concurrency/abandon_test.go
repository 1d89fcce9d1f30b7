package concurrency_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/lease"
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
			m.Session = newSession(t, client, concurrency.WithContext(ctx), concurrency.WithOptions(lease.WithGrace(peertest.Guard)), tellWaits(m.waits))
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

func TestAnUnlockOrResignDuringWhichTheSessionIsLeftStillDeletesTheKey(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, end := range endings(t) {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for kind, begin := range holders() {
				ctx, cancel := context.WithCancel(guarded(t))
				client := newHindered(t, c)
				m := &member{client: client.Client, Session: newSession(t, client.Client, concurrency.WithContext(ctx))}
				key, giveUp := begin(t, m.Session, c.Prefix(t)+what+kind)
				deleting := make(chan struct{})
				client.hinder(deletes, func(ctx context.Context) error {
					close(deleting)
					return until(ctx, nil) // until its lease has ended
				})
				done := soon(func() error { return giveUp(guarded(t)) })
				requireClosed(t, deleting)
				end(m, cancel)
				require.NoError(t, await(t, done, "it returns"), kind)
				require.Nil(t, get(t, client.Client, key), kind)
				cancel()
			}
		})
	}
}

func TestAnUnlockOrResignOfWhatASessionHasLeftIsRepeatedUntilTheKeyIsDeleted(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	refuse := func(context.Context) error {
		return status.Error(codes.PermissionDenied, "etcdserver: permission denied")
	}
	for kind, begin := range holders() {
		client := newHindered(t, c)
		s := newSession(t, client.Client)
		key, giveUp := begin(t, s, c.Prefix(t)+kind)
		over, cancel := context.WithCancel(guarded(t))
		cancel()
		client.hinder(deletes, refuse)
		require.Error(t, giveUp(guarded(t)), kind)
		s.Orphan()
		client.hinder(deletes, refuse)
		require.Error(t, giveUp(guarded(t)), kind)
		require.Equal(t, context.Canceled, giveUp(over), kind)
		require.NotNil(t, get(t, client.Client, key), kind)
		client.hinderAnswer(deletes, refuse)
		require.Error(t, giveUp(guarded(t)), kind)
		require.Nil(t, get(t, client.Client, key), kind)
		require.NoError(t, giveUp(guarded(t)), kind, "the one before has deleted it")
	}
}

// holders are a mutex that is locked and an election that is won: its key, and how to give it up.
func holders() map[string]func(t *testing.T, s *concurrency.Session, name string) (key string, giveUp func(context.Context) error) {
	return map[string]func(t *testing.T, s *concurrency.Session, name string) (string, func(context.Context) error){
		"Unlock": func(t *testing.T, s *concurrency.Session, name string) (string, func(context.Context) error) {
			t.Helper()
			mutex := concurrency.NewMutex(s, name)
			require.NoError(t, mutex.Lock(guarded(t)))
			return mutex.Key(), mutex.Unlock
		},
		"Resign": func(t *testing.T, s *concurrency.Session, name string) (string, func(context.Context) error) {
			t.Helper()
			e := concurrency.NewElection(s, name)
			require.NoError(t, e.Campaign(guarded(t), "a"))
			return e.Key(), e.Resign
		},
	}
}

func TestALateResignOrProclaimLeavesTheNextTermAlone(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for _, resumed := range []bool{false, true} {
		name, client, before := fmt.Sprint(c.Prefix(t), resumed), newHindered(t, c), newMember(t, c)
		e := concurrency.NewElection(before.Session, name)
		require.NoError(t, e.Campaign(guarded(t), "a"))
		before.Orphan()
		s := newSession(t, client.Client, concurrency.WithLease(before.Lease()))
		key, rev := e.Key(), e.Rev()
		e = concurrency.ResumeElection(s, name, key, rev)
		if !resumed {
			require.NoError(t, e.Campaign(guarded(t), "a"))
		}
		deleted, release := make(chan struct{}), make(chan struct{})
		client.hinderAnswer(deletes, func(ctx context.Context) error {
			close(deleted)
			return until(ctx, release)
		})
		late := soon(func() error { return e.Resign(guarded(t)) })
		requireClosed(t, deleted)
		require.NoError(t, e.Campaign(guarded(t), "b"))
		close(release)
		requireSuccess(t, late)
		require.NotEmpty(t, e.Key())
		require.NoError(t, e.Proclaim(guarded(t), "c"))
		require.Equal(t, "c", string(get(t, client.Client, e.Key()).Value))
		key = e.Key()
		require.NoError(t, e.Resign(guarded(t)))
		require.Nil(t, get(t, client.Client, key))
	}
}

func TestAProclamationOfALostTermThatIsAnsweredLateLeavesTheNextTermAlone(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, client, before := c.Prefix(t)+"e", newHindered(t, c), newMember(t, c)
	e := concurrency.NewElection(before.Session, name)
	require.NoError(t, e.Campaign(guarded(t), "a"))
	before.Orphan()
	s := newSession(t, client.Client, concurrency.WithLease(before.Lease()))
	e = concurrency.ResumeElection(s, name, e.Key(), e.Rev())
	proclaiming, release := make(chan struct{}), make(chan struct{})
	client.hinder(anyTxn, func(ctx context.Context) error {
		close(proclaiming)
		return until(ctx, release)
	})
	late := soon(func() error { return e.Proclaim(guarded(t), "late") })
	requireClosed(t, proclaiming)
	require.NoError(t, e.Resign(guarded(t)))
	require.NoError(t, e.Campaign(guarded(t), "b"))
	close(release)
	require.Equal(t, concurrency.ErrElectionNotLeader, await(t, late, "the late one returns"))
	require.NoError(t, e.Proclaim(guarded(t), "c"))
	require.Equal(t, "c", string(get(t, client.Client, e.Key()).Value))
	require.NoError(t, e.Resign(guarded(t)))
	eventually(t, func() bool { return concurrency.Names(s) == 0 }, "nothing is kept")
}

// An entry for it would keep the next from being taken up.
func TestAProclamationThatAResignationHasOvertakenLeavesNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, client, before := c.Prefix(t)+"e", newHindered(t, c), newMember(t, c)
	e := concurrency.NewElection(before.Session, name)
	require.NoError(t, e.Campaign(guarded(t), "a"))
	before.Orphan()
	s := newSession(t, client.Client, concurrency.WithLease(before.Lease()))
	e = concurrency.ResumeElection(s, name, e.Key(), e.Rev())
	proclaimed, release := make(chan struct{}), make(chan struct{})
	client.hinderAnswer(anyTxn, func(ctx context.Context) error {
		close(proclaimed)
		return until(ctx, release)
	})
	late := soon(func() error { return e.Proclaim(guarded(t), "late") })
	requireClosed(t, proclaimed)
	require.NoError(t, e.Resign(guarded(t)))
	close(release)
	requireSuccess(t, late)
	require.Zero(t, concurrency.Names(s))
}

// After a TTL its key has gone with its lease, whatever the network does.
func TestAnUnlockOrResignOfALeftSessionIsNotTriedForEver(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for kind, begin := range holders() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			client := newHindered(t, c)
			s := newSession(t, client.Client, concurrency.WithTTL(6))
			_, giveUp := begin(t, s, c.Prefix(t)+kind)
			deleting := make(chan struct{}, 1)
			var hang func(ctx context.Context) error
			hang = func(ctx context.Context) error {
				client.hinder(deletes, hang)
				select {
				case deleting <- struct{}{}:
				default: // again
				}
				return until(ctx, nil)
			}
			client.hinder(deletes, hang)
			done := soon(func() error { return giveUp(context.WithoutCancel(t.Context())) })
			await(t, deleting, "it is deleted")
			s.Orphan()
			require.Error(t, await(t, done, "it returns"))
		})
	}
}
