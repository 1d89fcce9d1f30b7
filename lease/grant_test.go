package lease_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

func TestGrantIsOneRequest(t *testing.T) {
	t.Parallel()
	var rec etcdtest.Recorder
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec))
	l := newLease(t, client, lease.WithTTL(calm))
	require.Equal(t, map[string]int{"LeaseGrant": 1}, rec.Counts())
	require.NoError(t, l.Err())
	require.Equal(t, lease.Healthy, l.State())
	require.Equal(t, calm, l.TTL())
}

func TestTheDefaultTTLIsGrantedWithoutOptions(t *testing.T) {
	t.Parallel()
	l := newLease(t, etcdtest.New(t).Client(t))
	require.Equal(t, lease.DefaultTTL, l.TTL())
}

func TestTheDeadlineCountsFromBeforeTheRequestLessTheDrift(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for _, tt := range []struct {
		name  string
		opts  []lease.Option
		valid time.Duration
	}{
		{"by default", []lease.Option{lease.WithTTL(100 * time.Second)}, 99 * time.Second},
		{"no drift", []lease.Option{lease.WithTTL(100 * time.Second), lease.WithClockDrift(0)}, 100 * time.Second},
		{"much drift", []lease.Option{lease.WithTTL(100 * time.Second), lease.WithClockDrift(0.25)}, 75 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var rec etcdtest.Recorder
			var sent time.Time // after the library has taken its start
			rec.Hook("LeaseGrant", func(_ context.Context, _ any, invoke func() error) error {
				sent = time.Now()
				return invoke()
			})
			client := c.Client(t, etcdtest.WithRecorder(&rec))
			before := time.Now()
			l := newLease(t, client, tt.opts...)
			require.False(t, l.Deadline().After(sent.Add(tt.valid)), "counts from the sending, not from the reply")
			require.False(t, l.Deadline().Before(before.Add(tt.valid)))
			require.LessOrEqual(t, l.Remaining(), time.Until(sent.Add(tt.valid))+time.Second)
			require.Positive(t, l.Remaining())
		})
	}
}

func TestTheShortestTTLIsRaisedToTheServersMinimum(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	l := newLease(t, c.Client(t), lease.WithTTL(lease.MinTTL))
	require.Equal(t, c.MinTTL(t), l.TTL())
	require.False(t, l.Deadline().After(time.Now().Add(c.MinTTL(t))))
}

func TestATTLThatTheServerRaisedIsTheOneThatCounts(t *testing.T) {
	t.Parallel()
	const minimum = 90
	var rec etcdtest.Recorder
	rec.Hook("LeaseGrant", func(_ context.Context, req any, invoke func() error) error {
		if grant, ok := req.(*pb.LeaseGrantRequest); ok {
			grant.TTL = max(grant.TTL, minimum)
		}
		return invoke()
	})
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec))
	p := newPulse()
	before := time.Now()
	l := newLease(t, client, lease.WithTTL(time.Second), lease.WithClockDrift(0), p.observe())
	require.Equal(t, minimum*time.Second, l.TTL())
	require.False(t, l.Deadline().Before(before.Add(minimum*time.Second)))

	before = time.Now()
	p.round(t, l)
	require.False(t, l.Deadline().Before(before.Add(minimum*time.Second)), "renewed for as long")
	require.False(t, l.Deadline().After(time.Now().Add(minimum*time.Second)))
}

func TestGrantTriesAgainWhenItsReplyIsLost(t *testing.T) {
	t.Parallel()
	var rec etcdtest.Recorder
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec))
	rec.DropReplies("LeaseGrant", 1)
	l := newLease(t, client, lease.WithTTL(calm))
	require.NoError(t, l.Err())
	require.Equal(t, 2, rec.Count("LeaseGrant"))
}

func TestGrantGivesUpWhenTheServerRefuses(t *testing.T) {
	t.Parallel()
	var rec etcdtest.Recorder
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec))
	rec.FailCalls("LeaseGrant", 1, codes.PermissionDenied)
	_, err := lease.Grant(guarded(t), client)
	require.ErrorContains(t, err, "lease: grant")
	require.Equal(t, 1, rec.Count("LeaseGrant"))
}

func TestGrantReturnsWhenItsContextEndsDuringAPartition(t *testing.T) {
	t.Parallel()
	var rec etcdtest.Recorder
	client, net := etcdtest.New(t).ProxiedClient(t, etcdtest.WithRecorder(&rec))
	_, err := client.Get(guarded(t), "any") // connects
	require.NoError(t, err)
	net.Cut()
	for name, grant := range map[string]func(context.Context) error{
		"Grant": func(ctx context.Context) error {
			_, err := lease.Grant(ctx, client)
			return err
		},
		"NewSession": func(ctx context.Context) error {
			_, err := lease.NewSession(ctx, client)
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		rec.Reset()
		go func() { failed <- grant(ctx) }()
		eventually(t, func() bool { return rec.Count("LeaseGrant") > 0 }, name+" asks")
		cancel()
		require.ErrorIs(t, await(t, failed, name), context.Canceled, name)
	}
}

func TestCloseEndsTheLeaseHereThenOnTheServer(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	op := newOperator(t, c)
	var rec etcdtest.Recorder
	var l *lease.Lease
	rec.Hook("LeaseRevoke", func(_ context.Context, _ any, invoke func() error) error {
		if !isDone(l.Context()) {
			t.Error("the revocation was sent before the context had ended")
		}
		return invoke()
	})
	p := newPulse()
	l = newLease(t, c.Client(t, etcdtest.WithRecorder(&rec)), lease.WithTTL(calm), p.observe(), p.listen())
	require.True(t, op.knows(t, l.ID()))

	require.NoError(t, l.Close(guarded(t)))
	require.False(t, op.knows(t, l.ID()))
	require.ErrorIs(t, context.Cause(l.Context()), lease.ErrClosed)
	require.ErrorIs(t, l.Err(), lease.ErrClosed)
	require.NotErrorIs(t, l.Err(), lease.ErrLost)
	require.Equal(t, lease.Closed, l.State())
	require.LessOrEqual(t, l.Remaining(), time.Duration(0))
	require.False(t, l.Deadline().After(time.Now()))

	require.NoError(t, l.Close(ended(t)), "closing again is nothing")
	require.Equal(t, lease.Closed, await(t, p.states, "the state"))
	require.Empty(t, p.states)
	require.Empty(t, p.lost, "what was closed was not lost")
	require.Equal(t, 1, rec.Count("LeaseRevoke"))
}

func TestCloseWithADoneContextStillEndsAndRevokes(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	op := newOperator(t, c)
	var rec etcdtest.Recorder
	let := make(chan struct{})
	rec.Hook("LeaseRevoke", func(_ context.Context, _ any, invoke func() error) error {
		<-let
		return invoke()
	})
	l := newLease(t, c.Client(t, etcdtest.WithRecorder(&rec)), lease.WithTTL(calm))
	require.ErrorIs(t, l.Close(ended(t)), context.Canceled)
	require.ErrorIs(t, l.Err(), lease.ErrClosed, "over at once")
	require.True(t, op.knows(t, l.ID()))
	close(let)
	require.NoError(t, l.Close(guarded(t)))
	require.False(t, op.knows(t, l.ID()))
}

func TestBadInputIsRefusedWithTheValueAndWhatIsAllowed(t *testing.T) {
	t.Parallel()
	var rec etcdtest.Recorder
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec))
	for _, tt := range []struct {
		name   string
		client *clientv3.Client
		opts   []lease.Option
		says   []string
	}{
		{"nil client", nil, nil, []string{"client is nil", "must be"}},
		{"zero client", &clientv3.Client{}, nil, []string{"client has no connection", "clientv3.New"}},
		{"no TTL", client, opts(lease.WithTTL(0)), []string{"TTL 0s", "from 1s to 5m0s"}},
		{"negative TTL", client, opts(lease.WithTTL(-time.Second)), []string{"TTL -1s", "from 1s to 5m0s"}},
		{"TTL too short", client, opts(lease.WithTTL(time.Second - 1)), []string{"TTL 999.999999ms", "from 1s to 5m0s"}},
		{"TTL too long", client, opts(lease.WithTTL(lease.MaxTTL + time.Second)), []string{"TTL 5m1s", "from 1s to 5m0s"}},
		{"TTL fraction", client, opts(lease.WithTTL(1500 * time.Millisecond)), []string{"TTL 1.5s", "whole seconds"}},
		{"negative drift", client, opts(lease.WithClockDrift(-0.1)), []string{"clock drift -0.1", "from 0", "0.5"}},
		{"drift too large", client, opts(lease.WithClockDrift(0.5)), []string{"clock drift 0.5", "not including, 0.5"}},
		{"drift NaN", client, opts(lease.WithClockDrift(math.NaN())), []string{"clock drift NaN", "from 0", "0.5"}},
		{"drift infinite", client, opts(lease.WithClockDrift(math.Inf(1))), []string{"clock drift +Inf", "from 0", "0.5"}},
		{"negative grace", client, opts(lease.WithGrace(-time.Second)), []string{"grace -1s", "0 or more"}},
		{"nil logger", client, opts(lease.WithLogger(nil)), []string{"logger is nil", "must be"}},
		{"nil listener", client, opts(lease.WithStateListener(nil)), []string{"state listener is nil", "must be"}},
		{"nil option", client, opts(nil), []string{"option is nil", "With"}},
		{"all at once", nil, opts(lease.WithTTL(0), nil, lease.WithClockDrift(2)), []string{"client is nil", "TTL 0s", "option is nil", "clock drift 2:"}},
	} {
		_, err := lease.NewSession(guarded(t), tt.client, tt.opts...)
		_, err2 := lease.Grant(guarded(t), tt.client, tt.opts...)
		require.EqualError(t, err2, err.Error(), tt.name)
		for _, s := range append(tt.says, "lease: ") {
			require.ErrorContains(t, err, s, tt.name)
		}
	}
	_, err := lease.Grant(ended(t), client)
	require.ErrorIs(t, err, context.Canceled)
	_, err = lease.NewSession(ended(t), client)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, rec.Counts(), "nothing was sent")
}

func opts(o ...lease.Option) []lease.Option { return o }

func TestStatesHaveNames(t *testing.T) {
	t.Parallel()
	for s, name := range map[lease.State]string{
		lease.Healthy: "healthy", lease.Suspended: "suspended", lease.Lost: "lost", lease.Closed: "closed", 7: "State(7)",
	} {
		require.Equal(t, name, s.String())
		require.Equal(t, s == lease.Lost || s == lease.Closed, s.Ended())
	}
}
