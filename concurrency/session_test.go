package concurrency_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

func TestASessionOnAnExistingLeaseIsOverWhenItIsOrphaned(t *testing.T) {
	t.Parallel()
	client := etcdtest.New(t).Client(t)
	granted, err := client.Grant(guarded(t), 100)
	require.NoError(t, err)
	s := newSession(t, client, concurrency.WithLease(granted.ID))
	require.Equal(t, granted.ID, s.Lease())
	require.Same(t, client, s.Client())
	child, cancel := context.WithCancel(s.Ctx())
	defer cancel()
	s.Orphan()
	requireClosed(t, s.Done())
	requireClosed(t, child.Done())
	require.Equal(t, context.Canceled, child.Err())
	require.ErrorIs(t, context.Cause(s.Ctx()), lease.ErrClosed)
	left, err := client.TimeToLive(guarded(t), granted.ID)
	require.NoError(t, err)
	require.Positive(t, left.TTL, "the lease is left")
	s.Orphan() // once more
	require.NoError(t, s.Close())
}

// endings are the ways in which a session leaves its lease.
func endings(t *testing.T) map[string]func(*member, context.CancelFunc) {
	t.Helper()
	return map[string]func(*member, context.CancelFunc){
		"orphaned":           func(m *member, _ context.CancelFunc) { m.Orphan() },
		"its context's end":  func(m *member, cancel context.CancelFunc) { cancel(); requireClosed(t, m.Done()) },
		"orphaned by itself": func(m *member, cancel context.CancelFunc) { m.Orphan(); cancel() },
	}
}

// As a deferred call does in a program whose context has ended.
func TestWhatASessionHasLeftIsGivenUpByUnlockAndResign(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for what, end := range endings(t) {
		ctx, cancel := context.WithCancel(t.Context())
		name, m := c.Prefix(t)+what, newMember(t, c, concurrency.WithContext(ctx))
		mutex, again := concurrency.NewMutex(m.Session, name+"m"), concurrency.NewMutex(m.Session, name+"m")
		e, gone := concurrency.NewElection(m.Session, name+"e"), concurrency.NewElection(m.Session, name+"e")
		require.NoError(t, mutex.Lock(guarded(t)))
		require.NoError(t, again.Lock(guarded(t)))
		require.NoError(t, e.Campaign(guarded(t), "a"))
		require.NoError(t, gone.Campaign(guarded(t), "a"))
		lock, leader := mutex.Key(), e.Key()
		end(m, cancel)
		require.NotNil(t, get(t, c.Client(t), lock), what)
		require.NotNil(t, get(t, c.Client(t), leader), what)
		over, stop := context.WithCancel(guarded(t))
		stop()
		require.Equal(t, context.Canceled, mutex.Unlock(over), what)
		require.NoError(t, mutex.Unlock(guarded(t)), what)
		require.Nil(t, get(t, c.Client(t), lock), what)
		require.Equal(t, concurrency.ErrLockReleased, mutex.Unlock(guarded(t)), what)
		require.Equal(t, concurrency.ErrSessionExpired, again.Unlock(guarded(t)), what)
		require.Equal(t, context.Canceled, e.Resign(over), what)
		require.NoError(t, e.Resign(guarded(t)), what)
		require.Nil(t, get(t, c.Client(t), leader), what)
		require.NoError(t, gone.Resign(guarded(t)), what)
		cancel()
	}
}

func TestCloseRevokesALeaseThatWasLeft(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	m := newMember(t, c)
	mutex := concurrency.NewMutex(m.Session, c.Prefix(t)+"m")
	require.NoError(t, mutex.Lock(guarded(t)))
	key := mutex.Key()
	m.Orphan()
	require.NoError(t, m.Close())
	require.Nil(t, get(t, c.Client(t), key))
	left, err := c.Client(t).TimeToLive(guarded(t), m.Lease())
	require.NoError(t, err)
	require.EqualValues(t, -1, left.TTL, "the lease is gone")
	require.NoError(t, m.Close(), "once more")
	require.Equal(t, concurrency.ErrSessionExpired, mutex.Unlock(guarded(t)))
}

func TestCloseSaysWhatHasBecomeOfALeaseThatIsLeftMeanwhile(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for range 10 {
		for what, end := range map[string]func(s *concurrency.Session, cancel context.CancelFunc){
			"orphaned":          func(s *concurrency.Session, _ context.CancelFunc) { s.Orphan() },
			"its context's end": func(_ *concurrency.Session, cancel context.CancelFunc) { cancel() },
		} {
			ctx, cancel := context.WithCancel(guarded(t))
			client := newHindered(t, c)
			s := newSession(t, client.Client, concurrency.WithContext(ctx), concurrency.WithOptions(lease.WithGrace(time.Minute)))
			mutex := concurrency.NewMutex(s, c.Prefix(t)+what)
			require.NoError(t, mutex.Lock(guarded(t)))
			removing, release := make(chan struct{}), make(chan struct{})
			client.hinder(deletes, func(ctx context.Context) error {
				close(removing)
				return until(ctx, release)
			})
			over, stop := context.WithCancel(guarded(t))
			stop()
			require.Equal(t, context.Canceled, mutex.Unlock(over), what)
			requireClosed(t, removing)
			closed := soon(s.Close)
			requireClosed(t, concurrency.Closing(s))
			ended := soon(func() error {
				end(s, cancel)
				return nil
			})
			requireClosed(t, s.Ctx().Done())
			close(release)
			err := await(t, closed, "Close returns")
			requireSuccess(t, ended)
			left, ttlErr := c.Client(t).TimeToLive(guarded(t), s.Lease())
			require.NoError(t, ttlErr)
			if what == "orphaned" {
				require.NoError(t, err)
				require.EqualValues(t, -1, left.TTL, "%s: the lease is gone", what)
			} else {
				require.Equal(t, context.Canceled, err, what)
			}
			cancel()
		}
	}
}

func TestAListenerMayAskWhetherTheSessionIsDone(t *testing.T) {
	t.Parallel()
	client := etcdtest.New(t).Client(t)
	for what, end := range map[string]func(*concurrency.Session){
		"Orphan": (*concurrency.Session).Orphan,
		"Close":  func(s *concurrency.Session) { require.NoError(t, s.Close()) },
	} {
		var s *concurrency.Session
		told := make(chan struct{})
		s = newSession(t, client, concurrency.WithOptions(lease.WithStateListener(func(*lease.Lease, lease.State) {
			<-s.Done()
			<-s.Ctx().Done()
			close(told)
		})))
		ended := make(chan struct{})
		go func() {
			end(s)
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			require.FailNow(t, "it waits for itself", what)
		}
		requireClosed(t, told)
	}
}

func TestTTLIsThatOfTheOption(t *testing.T) {
	t.Parallel()
	core, logged := observer.New(zap.WarnLevel)
	client := etcdtest.New(t).Client(t, etcdtest.WithConfig(func(cfg *clientv3.Config) { cfg.Logger = zap.New(core) }))
	for want, opts := range map[int64][]concurrency.SessionOption{
		60:   nil,
		90:   {concurrency.WithTTL(90)},
		30:   {concurrency.WithTTL(30), concurrency.WithTTL(0), concurrency.WithTTL(-1)},
		3600: {concurrency.WithTTL(3600)},
	} {
		s := newSession(t, client, opts...)
		resp, err := client.TimeToLive(guarded(t), s.Lease())
		require.NoError(t, err)
		require.Equal(t, want, resp.GrantedTTL)
	}
	require.Equal(t, 2, logged.FilterMessageSnippet("TTL must be positive").Len(), "TTLs that are not taken are logged")
}

func TestATTLIsAsLongAsEtcdAllowsOrRefused(t *testing.T) {
	t.Parallel()
	client := etcdtest.New(t).Client(t)
	for _, ttl := range []int64{300, 301, clientv3.MaxLeaseTTL} {
		s := newSession(t, client, concurrency.WithTTL(int(ttl)))
		resp, err := client.TimeToLive(guarded(t), s.Lease())
		require.NoError(t, err)
		require.EqualValues(t, ttl, resp.GrantedTTL)
	}
	// As durations, the second and the third are negative and 5 s.
	for _, ttl := range []int64{clientv3.MaxLeaseTTL + 1, 10_000_000_000, 1<<55 + 5, math.MaxInt64} {
		_, err := concurrency.NewSession(client, concurrency.WithTTL(int(ttl)))
		require.EqualError(t, err, fmt.Sprintf("concurrency: TTL %d: must be at most 9000000000 seconds: etcdserver: too large lease TTL", ttl))
		require.ErrorIs(t, err, rpctypes.ErrLeaseTTLTooLarge)
	}
	adopted := newSession(t, client, concurrency.WithTTL(math.MaxInt), concurrency.WithLease(newSession(t, client).Lease()))
	require.NotZero(t, adopted.Lease(), "a lease has its own")
}

func TestNewSessionReturnsTheErrorOfItsContextAsItIs(t *testing.T) {
	t.Parallel()
	client := etcdtest.New(t).Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	for _, ttl := range []int{5, 500} {
		_, err := concurrency.NewSession(client, concurrency.WithContext(ctx), concurrency.WithTTL(ttl))
		require.True(t, err == context.DeadlineExceeded, "%v", err) //nolint:errorlint // as callers compare
	}
	_, err := concurrency.NewSession(nil)
	require.ErrorContains(t, err, "client is nil")
	_, err = concurrency.NewSession(client, concurrency.WithLease(7))
	require.Equal(t, concurrency.ErrSessionExpired, err)
}

func TestTheEndOfItsContextLeavesTheLeaseOfASession(t *testing.T) {
	t.Parallel()
	client := etcdtest.New(t).Client(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := newSession(t, client, concurrency.WithContext(ctx))
	cancel()
	requireClosed(t, s.Done())
	require.Equal(t, context.Canceled, s.Close())
	left, err := client.TimeToLive(guarded(t), s.Lease())
	require.NoError(t, err)
	require.Positive(t, left.TTL)
}

func TestCloseRevokesTheLeaseAndItsKeys(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	m := newMember(t, c)
	mutex := concurrency.NewMutex(m.Session, c.Prefix(t)+"m")
	require.NoError(t, mutex.Lock(guarded(t)))
	key := mutex.Key()
	require.NoError(t, m.Close())
	require.Nil(t, get(t, c.Client(t), key))
	require.Equal(t, concurrency.ErrSessionExpired, mutex.Lock(guarded(t)))
	require.Equal(t, concurrency.ErrSessionExpired, mutex.Unlock(guarded(t)))
	require.NoError(t, m.Close())
}

// The other library tells its holder up to a second late.
func TestASessionIsDoneBeforeItsKeysCanBeGone(t *testing.T) {
	t.Parallel()
	for _, ttl := range []int{10, 400} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			client, cut := s.CutClient()
			session, err := concurrency.NewSession(client, concurrency.WithTTL(ttl))
			require.NoError(t, err)
			mutex := concurrency.NewMutex(session, "m")
			require.NoError(t, mutex.Lock(t.Context()))
			cut.Cut()
			<-session.Done()
			require.Error(t, session.Ctx().Err())
			resp, err := s.Client().Get(t.Context(), mutex.Key())
			require.NoError(t, err)
			require.Len(t, resp.Kvs, 1, "nobody else has it yet")
			require.Equal(t, concurrency.ErrSessionExpired, mutex.Unlock(t.Context()))
			cut.Heal()
			require.NoError(t, session.Close())
		})
	}
}

func TestWhatIsNilOrZeroIsRefused(t *testing.T) {
	t.Parallel()
	s := newMember(t, etcdtest.New(t)).Session
	var none context.Context
	for _, broken := range []*concurrency.Session{nil, {}} {
		require.ErrorContains(t, concurrency.NewMutex(broken, "m").Lock(guarded(t)), "session is nil or zero")
		require.ErrorContains(t, concurrency.NewMutex(broken, "m").Unlock(guarded(t)), "session is nil or zero")
		require.ErrorContains(t, concurrency.NewElection(broken, "e").Campaign(guarded(t), "v"), "session is nil or zero")
		_, open := <-concurrency.NewElection(broken, "e").Observe(guarded(t))
		require.False(t, open)
		require.Panics(t, concurrency.NewLocker(broken, "m").Lock)
	}
	require.ErrorContains(t, concurrency.NewMutex(s, "m").Lock(none), "ctx is nil")
	require.ErrorContains(t, concurrency.NewElection(s, "e").Proclaim(none, "v"), "ctx is nil")
	_, err := concurrency.NewElection(s, "e").Leader(none)
	require.ErrorContains(t, err, "ctx is nil")
	for _, ttl := range []int{5, 500} {
		_, err = concurrency.NewSession(s.Client(), concurrency.WithContext(none), concurrency.WithTTL(ttl))
		require.ErrorContains(t, err, "ctx is nil")
	}
}
