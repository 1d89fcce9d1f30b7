package lease_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
)

const (
	// guard is how long a test waits for what must happen; only a failure takes
	// that long.
	guard = time.Minute
	// poll is between two looks at a state that has no event.
	poll = 2 * time.Millisecond
	// calm is a TTL so long that a round takes place only when a test asks for
	// it, and that a machine under load loses no lease.
	calm = lease.MaxTTL
	// unhurried is a TTL whose rounds and end a test can wait for, and which a busy
	// machine does not lose.
	unhurried = 6 * time.Second
)

// guarded is the test's context with a limit.
func guarded(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), guard)
	tb.Cleanup(cancel)
	return ctx
}

// ended is a context that is done already.
func ended(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	cancel()
	return ctx
}

// await receives from ch.
func await[T any](tb testing.TB, ch <-chan T, what string) T {
	tb.Helper()
	timer := time.NewTimer(guard)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		require.FailNow(tb, "nothing came of: "+what)
		panic("unreachable")
	}
}

func eventually(tb testing.TB, condition func() bool, what string) {
	tb.Helper()
	require.Eventually(tb, condition, guard, poll, what)
}

// isDone reports whether ctx has ended, without the help of [lease.Lease.Err],
// which ends an overdue lease itself.
func isDone(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

// pulse hears of a session's renewals and losses, and of its states.
type pulse struct {
	renewed chan time.Duration
	lost    chan error
	states  chan lease.State
}

func newPulse() *pulse {
	const plenty = 4096 // the callbacks must not block
	return &pulse{make(chan time.Duration, plenty), make(chan error, plenty), make(chan lease.State, plenty)}
}

func (p *pulse) observe() lease.Option {
	return lease.WithObserver(lease.Observer{
		Renewed: func(_ *lease.Lease, took time.Duration) { p.renewed <- took },
		Lost:    func(_ *lease.Lease, cause error) { p.lost <- cause },
	})
}

func (p *pulse) listen() lease.Option {
	return lease.WithStateListener(func(_ *lease.Lease, s lease.State) { p.states <- s })
}

// round has the lease renewed now and returns when that is confirmed.
func (p *pulse) round(tb testing.TB, l *lease.Lease) {
	tb.Helper()
	inside.Keys(l).Hurry()
	await(tb, p.renewed, "a renewal")
}

// failures receives the message of each attempt at a renewal that has failed.
type failures chan string

func (f failures) option() lease.Option { return lease.WithLogger(slog.New(f)) }

func (f failures) Enabled(context.Context, slog.Level) bool { return true }

func (f failures) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "lease: renewal failed" {
		f <- r.Message
	}
	return nil
}

func (f failures) WithAttrs([]slog.Attr) slog.Handler { return f }

func (f failures) WithGroup(string) slog.Handler { return f }

// newSession returns a session that is closed at the test's end.
func newSession(tb testing.TB, client *clientv3.Client, opts ...lease.Option) *lease.Session {
	tb.Helper()
	s, err := lease.NewSession(guarded(tb), client, opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), guard)
		defer cancel()
		require.NoError(tb, s.Close(ctx))
	})
	return s
}

// newLease returns a lease that is closed at the test's end.
func newLease(tb testing.TB, client *clientv3.Client, opts ...lease.Option) *lease.Lease {
	tb.Helper()
	l, err := lease.Grant(guarded(tb), client, opts...)
	require.NoError(tb, err)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), guard)
		defer cancel()
		require.NoError(tb, l.Close(ctx))
	})
	return l
}

// liveLease returns the session's lease.
func liveLease(tb testing.TB, s *lease.Session) *lease.Lease {
	tb.Helper()
	l, err := s.Lease(guarded(tb))
	require.NoError(tb, err)
	return l
}

// operator is a client of its own, which nothing interferes with.
type operator struct{ *clientv3.Client }

func newOperator(tb testing.TB, c *etcdtest.Cluster, opts ...etcdtest.ClientOption) operator {
	tb.Helper()
	return operator{c.Client(tb, append([]etcdtest.ClientOption{etcdtest.WithFastReconnect()}, opts...)...)}
}

func (o operator) put(tb testing.TB, key, value string, opts ...clientv3.OpOption) {
	tb.Helper()
	_, err := o.Put(guarded(tb), key, value, opts...)
	require.NoError(tb, err)
}

func (o operator) remove(tb testing.TB, key string) {
	tb.Helper()
	_, err := o.Delete(guarded(tb), key)
	require.NoError(tb, err)
}

func (o operator) revoke(tb testing.TB, id clientv3.LeaseID) {
	tb.Helper()
	_, err := o.Revoke(guarded(tb), id)
	require.NoError(tb, err)
}

// find returns the value and the lease of key, and whether it exists.
func (o operator) find(tb testing.TB, key string) (value string, id clientv3.LeaseID, ok bool) {
	tb.Helper()
	resp, err := o.Get(guarded(tb), key)
	require.NoError(tb, err)
	if len(resp.Kvs) == 0 {
		return "", 0, false
	}
	return string(resp.Kvs[0].Value), clientv3.LeaseID(resp.Kvs[0].Lease), true
}

func (o operator) requireKey(tb testing.TB, key, value string, id clientv3.LeaseID) {
	tb.Helper()
	v, l, ok := o.find(tb, key)
	require.True(tb, ok, "%s exists", key)
	require.Equal(tb, value, v)
	require.Equal(tb, id, l)
}

func (o operator) requireNoKey(tb testing.TB, key string) {
	tb.Helper()
	_, _, ok := o.find(tb, key)
	require.False(tb, ok, "%s exists", key)
}

// knows reports whether the server has the lease.
func (o operator) knows(tb testing.TB, id clientv3.LeaseID) bool {
	tb.Helper()
	resp, err := o.TimeToLive(guarded(tb), id)
	require.NoError(tb, err)
	return resp.TTL > 0
}

// watch returns the events of key from now on.
func (o operator) watch(tb testing.TB, key string) <-chan *clientv3.Event {
	tb.Helper()
	const plenty = 4096
	events := make(chan *clientv3.Event, plenty)
	ctx, cancel := context.WithCancel(tb.Context())
	responses := o.Watch(ctx, key, clientv3.WithCreatedNotify())
	first := await(tb, responses, "the watch")
	require.NoError(tb, first.Err())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for resp := range responses {
			for _, e := range resp.Events {
				events <- e
			}
		}
	}()
	tb.Cleanup(func() { cancel(); <-done })
	return events
}

// roundOf asks for a round of the session's present lease, without waiting for it.
func (p *pulse) roundOf(tb testing.TB, s *lease.Session) {
	tb.Helper()
	inside.Keys(liveLease(tb, s)).Hurry()
}
