package lease_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

func TestASessionWhoseLeaseWasRevokedWhileIdleHealsByItself(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	op := newOperator(t, c)
	p := newPulse()
	s := newSession(t, c.Client(t), lease.WithTTL(unhurried), p.observe())
	first := liveLease(t, s)
	op.revoke(t, first.ID())
	require.ErrorIs(t, await(t, p.lost, "the loss, without anybody asking"), lease.ErrLost)

	second := liveLease(t, s)
	require.NotEqual(t, first.ID(), second.ID())
	require.NoError(t, second.Err())
	require.ErrorIs(t, first.Err(), lease.ErrLost, "the old one stays lost")
	require.True(t, op.knows(t, second.ID()))
	p.round(t, second)
}

func TestAllWhoAskAfterALossShareOneNewLease(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var rec etcdtest.Recorder
	p := newPulse()
	s := newSession(t, c.Client(t, etcdtest.WithRecorder(&rec)), lease.WithTTL(calm), p.observe())
	first := liveLease(t, s)
	newOperator(t, c).revoke(t, first.ID())
	inside.Keys(first).Hurry()
	require.Error(t, await(t, p.lost, "the loss"))
	rec.Reset()
	const callers = 50
	leases := make(chan *lease.Lease, callers)
	ctx := guarded(t)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			if l, err := s.Lease(ctx); err == nil {
				leases <- l
			}
		})
	}
	wg.Wait()
	require.Len(t, leases, callers)
	second := <-leases
	require.NotSame(t, first, second)
	for range callers - 1 {
		require.Same(t, second, <-leases)
	}
	require.Equal(t, 1, rec.Count("LeaseGrant"))
}

func TestALiveLeaseCostsNothing(t *testing.T) {
	t.Parallel()
	var rec etcdtest.Recorder
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec))
	s := newSession(t, client, lease.WithTTL(calm))
	require.Same(t, client, s.Client())
	rec.Reset()
	require.Same(t, liveLease(t, s), liveLease(t, s))
	require.Empty(t, rec.Counts())
	_, err := s.Lease(ended(t))
	require.ErrorIs(t, err, context.Canceled, "a done context gets nothing")
}

func TestASessionsLeaseReturnsWhenItsContextEndsDuringAPartition(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var rec etcdtest.Recorder
	client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect(), etcdtest.WithRecorder(&rec))
	p := newPulse()
	s := newSession(t, client, lease.WithTTL(c.MinTTL(t)), p.observe())
	net.Cut()
	require.Error(t, await(t, p.lost, "the loss"))
	rec.Reset()
	// One holds the turn, the other waits for it.
	why := context.DeadlineExceeded
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := s.Lease(ctx)
			failed <- err
		}()
	}
	eventually(t, func() bool { return rec.Count("LeaseGrant") > 0 }, "who holds the turn asks")
	cancel(why)
	for range 2 {
		err := await(t, failed, "Lease")
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, why, "the cause is told, too")
	}
	net.Heal()
	require.NoError(t, liveLease(t, s).Err())
}

func TestCloseEndsASessionForGood(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	s := newSession(t, c.Client(t), lease.WithTTL(calm))
	l := liveLease(t, s)
	require.NoError(t, s.Close(guarded(t)))
	require.ErrorIs(t, l.Err(), lease.ErrClosed)
	require.False(t, newOperator(t, c).knows(t, l.ID()))
	_, err := s.Lease(guarded(t))
	require.ErrorIs(t, err, lease.ErrClosed)
	_, err = lease.Register(guarded(t), s, c.Prefix(t)+"k", "v")
	require.ErrorIs(t, err, lease.ErrClosed)
	require.NoError(t, s.Close(guarded(t)), "closing again waits for nothing")
}

func TestClosingASessionDuringAPartitionEndsItHereAtOnce(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect())
	s := newSession(t, client, lease.WithTTL(calm))
	l := liveLease(t, s)
	net.Cut()
	require.ErrorIs(t, s.Close(ended(t)), context.Canceled)
	require.ErrorIs(t, l.Err(), lease.ErrClosed)
	_, err := s.Lease(guarded(t))
	require.ErrorIs(t, err, lease.ErrClosed)
	net.Heal()
	require.NoError(t, s.Close(guarded(t)), "the revocation went on")
	require.False(t, newOperator(t, c).knows(t, l.ID()))
}

func TestClosingASessionInterruptsAGrant(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var rec etcdtest.Recorder
	p := newPulse()
	s := newSession(t, c.Client(t, etcdtest.WithRecorder(&rec)), lease.WithTTL(calm), p.observe())
	newOperator(t, c).revoke(t, liveLease(t, s).ID())
	inside.Keys(liveLease(t, s)).Hurry()
	require.Error(t, await(t, p.lost, "the loss"))
	granting := make(chan struct{}, 1)
	rec.Hook("LeaseGrant", func(ctx context.Context, _ any, _ func() error) error {
		granting <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	failed := make(chan error, 2)
	for range 2 { // one grants, the other waits its turn
		go func() {
			_, err := s.Lease(t.Context())
			failed <- err
		}()
	}
	await(t, granting, "the grant")
	require.NoError(t, s.Close(guarded(t)))
	for range 2 {
		require.ErrorIs(t, await(t, failed, "Lease"), lease.ErrClosed)
	}
}

// A grant that the server answers after the session was closed must leave no lease
// behind that is kept alive, though nobody calls Close again.
func TestALeaseGrantedToAClosedSessionIsGivenBack(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var rec etcdtest.Recorder
		session, err := lease.NewSession(t.Context(), s.Client(vtime.WithDialOptions(rec.DialOptions()...)), lease.WithGrace(0))
		require.NoError(t, err)
		first, err := session.Lease(t.Context())
		require.NoError(t, err)
		operator := s.Client()
		_, err = operator.Revoke(t.Context(), first.ID())
		require.NoError(t, err)
		awaitEnd(t, first)
		granted := false
		rec.Hook("LeaseGrant", func(_ context.Context, _ any, invoke func() error) error {
			err := invoke()
			granted = err == nil
			if closed := session.Close(ended(t)); closed == nil {
				t.Error("Close did not wait for the grant")
			}
			return err
		})
		_, err = session.Lease(t.Context())
		require.ErrorIs(t, err, lease.ErrClosed)
		require.True(t, granted)
		vtime.Advance(time.Second)
		left, err := operator.Leases(t.Context())
		require.NoError(t, err)
		require.Empty(t, left.Leases)
		require.NoError(t, session.Close(t.Context()))
	})
}

func TestAClientClosedUnderALiveSessionEndsIt(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var rec etcdtest.Recorder
	client := c.Client(t, etcdtest.WithRecorder(&rec))
	p := newPulse()
	s := newSession(t, client, lease.WithTTL(calm), p.observe(), p.listen())
	l := liveLease(t, s)
	r, err := lease.Register(guarded(t), s, c.Prefix(t)+"k", "v")
	require.NoError(t, err)
	p.round(t, l)
	rec.Reset()
	require.NoError(t, client.Close())

	cause := await(t, p.lost, "the loss")
	require.ErrorIs(t, cause, lease.ErrLost)
	require.ErrorContains(t, cause, "client was closed")
	require.Equal(t, lease.Lost, await(t, p.states, "the state"))
	_, err = s.Lease(guarded(t))
	require.ErrorIs(t, err, lease.ErrClosed)
	require.ErrorContains(t, err, "client was closed")
	_, err = lease.Register(guarded(t), s, "other", "v")
	require.ErrorIs(t, err, lease.ErrClosed)
	eventually(t, func() bool { return r.Err() != nil }, "the registration tells")
	require.ErrorIs(t, r.Update(guarded(t), "w"), lease.ErrClosed)

	require.NoError(t, l.Close(guarded(t)), "there is nothing left to wait for")
	require.NoError(t, r.Close(guarded(t)))
	require.NoError(t, s.Close(guarded(t)))
	sent := rec.Counts()
	require.LessOrEqual(t, sent["LeaseRevoke"]+sent["Txn"]+sent["LeaseGrant"]+sent["LeaseKeepAlive"], 2, "no hot loop: %v", sent)
}

func TestASessionOnAClosedClientIsRefused(t *testing.T) {
	t.Parallel()
	client := etcdtest.New(t).Client(t)
	require.NoError(t, client.Close())
	_, err := lease.NewSession(guarded(t), client)
	require.ErrorIs(t, err, lease.ErrClosed)
}

func TestClientsUnderANamespaceWork(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	op := newOperator(t, c)
	var rec etcdtest.Recorder
	client := c.Client(t, etcdtest.WithRecorder(&rec))
	prefix := c.Prefix(t)
	client.KV = namespace.NewKV(client.KV, prefix)
	client.Watcher = namespace.NewWatcher(client.Watcher, prefix)
	client.Lease = namespace.NewLease(client.Lease, prefix)

	p := newPulse()
	s := newSession(t, client, lease.WithTTL(calm), p.observe())
	l := liveLease(t, s)
	events := op.watch(t, prefix+"k")
	_, err := lease.Register(guarded(t), s, "k", "v")
	require.NoError(t, err)
	op.requireKey(t, prefix+"k", "v", l.ID())
	require.Equal(t, clientv3.EventTypePut, await(t, events, "the put").Type)
	rec.Reset()
	p.round(t, l)
	require.Equal(t, map[string]int{"LeaseKeepAliveStream": 1, "LeaseKeepAlive": 1, "Txn": 1}, rec.Counts(), "nothing was missed")

	op.remove(t, prefix+"k")
	require.Equal(t, clientv3.EventTypeDelete, await(t, events, "the delete").Type)
	p.round(t, l)
	require.Equal(t, clientv3.EventTypePut, await(t, events, "the key again").Type)
}

func TestLossesAndHealingAreLogged(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var out syncBuffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	p := newPulse()
	s := newSession(t, c.Client(t), lease.WithTTL(calm), lease.WithLogger(log), p.observe())
	require.Same(t, log, s.Logger())
	require.NotNil(t, s.Observer().Lost)
	require.Empty(t, out.String(), "a healthy session is silent")
	newOperator(t, c).revoke(t, liveLease(t, s).ID())
	inside.Keys(liveLease(t, s)).Hurry()
	require.Error(t, await(t, p.lost, "the loss"))
	require.Contains(t, out.String(), "level=WARN msg=\"lease: lost\"")
	liveLease(t, s)
	require.Contains(t, out.String(), "level=INFO msg=\"lease: session has a new lease\"")
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestTheDeadlineNeverMovesBackwards(t *testing.T) {
	t.Parallel()
	p := newPulse()
	l := newLease(t, etcdtest.New(t).Client(t), lease.WithTTL(calm), p.observe())
	var last time.Time
	for range 20 {
		p.round(t, l)
		require.True(t, l.Deadline().After(last))
		last = l.Deadline()
	}
}
