package lease_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// onAcknowledgement has fn asked about every reply to a renewal; n counts from 1.
func onAcknowledgement(rec *etcdtest.Recorder, fn func(n int, resp *pb.LeaseKeepAliveResponse) (drop bool, err error)) {
	var n atomic.Int64
	rec.HookStream(func(_ string, dir etcdtest.Direction, msg any) (bool, error) {
		resp, ok := msg.(*pb.LeaseKeepAliveResponse)
		if dir != etcdtest.Recv || !ok {
			return false, nil
		}
		return fn(int(n.Add(1)), resp)
	})
}

func TestARoundIsOneKeepAliveAndOneRead(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	for _, carried := range []int{0, 1, 100} {
		t.Run(fmt.Sprintf("%d keys", carried), func(t *testing.T) {
			t.Parallel()
			var rec etcdtest.Recorder
			client := c.Client(t, etcdtest.WithRecorder(&rec))
			p := newPulse()
			s := newSession(t, client, lease.WithTTL(calm), p.observe())
			prefix := c.Prefix(t)
			for i := range carried {
				_, err := lease.Register(guarded(t), s, fmt.Sprint(prefix, i), "v")
				require.NoError(t, err)
			}
			rec.Reset()
			const rounds = 5
			for range rounds {
				p.round(t, liveLease(t, s))
			}
			require.Equal(t, map[string]int{"LeaseKeepAliveStream": 1, "LeaseKeepAlive": rounds, "Txn": rounds}, rec.Counts())
			require.Zero(t, rec.Writes(), "rounds write nothing")
		})
	}
}

func TestRoundsTakePlaceByThemselvesThreeTimesPerTTL(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		const ttl = 6 * time.Second
		p := newPulse()
		l, _ := grantAt(t, s.Client(), lease.WithTTL(ttl), p.observe(), p.listen())
		for range 4 {
			deadline := l.Deadline()
			vtime.Advance(ttl/3 - time.Millisecond)
			require.Empty(t, p.renewed, "not more often than that")
			vtime.Advance(time.Millisecond)
			require.Len(t, p.renewed, 1)
			<-p.renewed
			require.Equal(t, deadline.Add(ttl/3), l.Deadline(), "every renewal moves the deadline")
		}
		require.Empty(t, p.states, "healthy all the time")
		require.NoError(t, l.Close(t.Context()))
	})
}

func TestARenewalWhoseReplyIsLostIsMadeAgainOnAnotherStream(t *testing.T) {
	t.Parallel()
	for name, loss := range map[string]error{
		"in silence":           nil,
		"with the connection":  status.Error(codes.Unavailable, "broken"),
		"with an unknown fate": status.Error(codes.Unknown, "broken"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := etcdtest.New(t)
			var rec etcdtest.Recorder
			onAcknowledgement(&rec, func(n int, _ *pb.LeaseKeepAliveResponse) (bool, error) {
				if n > 1 {
					return false, nil
				}
				return true, loss
			})
			ttl := time.Minute
			if loss == nil {
				ttl /= 2 // a part of it passes before silence is a failure
			}
			p, f := newPulse(), make(failures, 10)
			l := newLease(t, c.Client(t, etcdtest.WithRecorder(&rec)), lease.WithTTL(ttl), p.observe(), p.listen(), f.option())
			deadline := l.Deadline()
			inside.Keys(l).Hurry()
			if loss != nil { // silence has failed only when it is overdue
				await(t, f, "the failure")
			}
			await(t, p.renewed, "the renewal")
			require.NoError(t, l.Err())
			require.Empty(t, p.renewed, "the lost reply moves nothing")
			require.True(t, l.Deadline().After(deadline))
			require.Equal(t, 2, rec.Count("LeaseKeepAliveStream"))
			require.NoError(t, l.Close(guarded(t)))
			require.Equal(t, lease.Closed, await(t, p.states, "the state"))
			require.Empty(t, p.lost)
		})
	}
}

func TestARenewalIsNotConfirmedWhileTheLookFails(t *testing.T) {
	t.Parallel()
	var rec etcdtest.Recorder
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec))
	p := newPulse()
	l := newLease(t, client, lease.WithTTL(10*time.Second), p.observe(), p.listen())
	deadline := l.Deadline()
	allow := rec.Hook("Txn", func(context.Context, any, func() error) error { return status.Error(codes.FailedPrecondition, "no") })
	inside.Keys(l).Hurry()
	require.Equal(t, lease.Suspended, await(t, p.states, "the state"))
	eventually(t, func() bool { return rec.Count("Txn") >= 3 }, "it is tried again")
	require.Equal(t, deadline, l.Deadline())
	require.Equal(t, lease.Suspended, l.State())
	allow()
	require.Equal(t, lease.Healthy, await(t, p.states, "the state"))
	require.True(t, l.Deadline().After(deadline))
	// A busy machine may be late once with a reply.
	require.LessOrEqual(t, rec.Count("LeaseKeepAliveStream"), 2, "the stream was not to blame")
}

// The server's answer is made to look as if a deposed leader had given it; the
// real thing is in TestARenewalAcknowledgedByADeposedLeaderDoesNotCount.
func TestAnAcknowledgementOlderThanTheLookMovesNothing(t *testing.T) {
	t.Parallel()
	var rec etcdtest.Recorder
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec))
	first := make(chan struct{})
	onAcknowledgement(&rec, func(n int, resp *pb.LeaseKeepAliveResponse) (bool, error) {
		switch n {
		case 1:
			resp.Header.RaftTerm--
		case 2:
			close(first)
		}
		return false, nil
	})
	p, f := newPulse(), make(failures, 10)
	l := newLease(t, client, lease.WithTTL(10*time.Second), p.observe(), f.option())
	deadline := l.Deadline()
	inside.Keys(l).Hurry()
	await(t, f, "the failure")
	await(t, first, "a second renewal")
	await(t, p.renewed, "the one that counts")
	require.True(t, l.Deadline().After(deadline))
	require.Empty(t, p.renewed)
}

// A leader that was deposed may have let the lease expire which the new one has renewed.
func TestALeaseThatADeposedLeaderDoesNotKnowGoesOn(t *testing.T) {
	t.Parallel()
	var rec etcdtest.Recorder
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec))
	onAcknowledgement(&rec, func(n int, resp *pb.LeaseKeepAliveResponse) (bool, error) {
		if n == 1 {
			resp.TTL = 0
			resp.Header.RaftTerm--
		}
		return false, nil
	})
	p, f := newPulse(), make(failures, 10)
	l := newLease(t, client, lease.WithTTL(10*time.Second), p.observe(), f.option())
	inside.Keys(l).Hurry()
	await(t, f, "the failure")
	await(t, p.renewed, "the renewal after it")
	require.NoError(t, l.Err())
	require.Empty(t, p.lost)
}

func TestTheRenewalAfterADeposedLeadersAnswerGoesOutOnAnotherStream(t *testing.T) {
	t.Parallel()
	var rec etcdtest.Recorder
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec))
	onAcknowledgement(&rec, func(_ int, resp *pb.LeaseKeepAliveResponse) (bool, error) {
		if rec.Count("LeaseKeepAliveStream") == 1 { // the only one leads to the deposed leader
			resp.Header.RaftTerm--
		}
		return false, nil
	})
	p := newPulse()
	l := newLease(t, client, lease.WithTTL(time.Minute), p.observe())
	p.round(t, l)
	require.NoError(t, l.Err())
	require.Equal(t, 2, rec.Count("LeaseKeepAliveStream"))
	p.round(t, l)
	require.Equal(t, 2, rec.Count("LeaseKeepAliveStream"), "which is used from then on")
	eventually(t, func() bool { return rec.Open("LeaseKeepAlive") == 1 }, "the first is ended")
}

func TestAReplyDelayedPastTheDeadlineRevivesNothing(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	// The reply to the keep-alive, or that to the look which would confirm it.
	for _, late := range []string{"LeaseKeepAlive", "Txn"} {
		t.Run(late, func(t *testing.T) {
			t.Parallel()
			var rec etcdtest.Recorder
			p := newPulse()
			l := newLease(t, c.Client(t, etcdtest.WithRecorder(&rec)), lease.WithTTL(unhurried), p.observe(), p.listen())
			deadline := l.Deadline()
			arrived := make(chan struct{}, 1)
			wait := func() {
				<-l.Context().Done()
				select {
				case arrived <- struct{}{}:
				default:
				}
			}
			if late == "Txn" {
				rec.Hook(late, func(_ context.Context, _ any, invoke func() error) error {
					err := invoke()
					wait()
					return err
				})
			} else {
				onAcknowledgement(&rec, func(int, *pb.LeaseKeepAliveResponse) (bool, error) {
					wait()
					return false, nil
				})
			}
			cause := await(t, p.lost, "the loss")
			require.False(t, time.Now().Before(deadline.Add(-time.Millisecond)), "not before the deadline")
			require.ErrorIs(t, cause, lease.ErrLost)
			require.ErrorContains(t, cause, "deadline passed")
			await(t, arrived, "the late reply")
			require.NoError(t, l.Close(guarded(t)), "it waits for the late round")
			require.ErrorIs(t, l.Err(), lease.ErrLost)
			require.Equal(t, cause, context.Cause(l.Context()))
			require.Equal(t, lease.Lost, l.State())
			require.LessOrEqual(t, l.Remaining(), time.Duration(0))
			require.False(t, l.Deadline().After(deadline), "and it never moved")
			require.Empty(t, p.renewed)
			require.Equal(t, lease.Suspended, await(t, p.states, "the state"))
			require.Equal(t, lease.Lost, await(t, p.states, "the state"))
			require.Empty(t, p.states)
		})
	}
}

func TestALeaseLostByDeadlineIsRevokedOnceTheNetworkAllows(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	op := newOperator(t, c)
	client, net := c.ProxiedClient(t, etcdtest.WithFastReconnect())
	p := newPulse()
	l := newLease(t, client, lease.WithTTL(c.MinTTL(t)), p.observe())
	// Renewals go through; it is the answers that stay away, so that for the
	// server the lease has a full TTL left when it has ended here.
	net.CutToClient()
	require.Error(t, await(t, p.lost, "the loss"))
	net.Heal()
	require.NoError(t, l.Close(guarded(t)))
	require.False(t, op.knows(t, l.ID()))
}

func TestALeaseThatTheServerDoesNotKnowIsLostAtOnce(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p := newPulse()
	l := newLease(t, c.Client(t), lease.WithTTL(calm), p.observe(), p.listen())
	newOperator(t, c).revoke(t, l.ID())
	inside.Keys(l).Hurry()
	cause := await(t, p.lost, "the loss")
	require.ErrorIs(t, cause, lease.ErrLost)
	require.NotErrorIs(t, cause, lease.ErrClosed)
	require.ErrorContains(t, cause, "does not know the lease")
	require.Equal(t, cause, context.Cause(l.Context()))
	require.False(t, l.Deadline().After(time.Now()), "the deadline is capped")
	require.LessOrEqual(t, l.Remaining(), time.Duration(0))
	require.NoError(t, l.Close(guarded(t)))
	require.ErrorIs(t, l.Err(), lease.ErrLost, "closing does not rewrite history")
	require.Equal(t, lease.Lost, await(t, p.states, "the state"))
	require.Empty(t, p.states)
}

func TestTheListenerHearsOfEveryStateInOrder(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		const ttl = 10 * time.Second
		p := newPulse()
		client, cut := s.CutClient()
		l, err := lease.Grant(t.Context(), client, lease.WithTTL(ttl), p.listen())
		require.NoError(t, err)
		for range 2 {
			cut.Cut()
			vtime.Advance(2 * ttl / 3) // however many attempts fail, it is one suspension
			cut.Heal()
			vtime.Advance(ttl / 3)
			require.Equal(t, lease.Suspended, <-p.states)
			require.Equal(t, lease.Healthy, <-p.states)
			require.Empty(t, p.states)
			require.Equal(t, lease.Healthy, l.State())
		}
		_, err = s.Client().Revoke(t.Context(), l.ID())
		require.NoError(t, err)
		vtime.Advance(ttl)
		require.Equal(t, lease.Lost, <-p.states)
		require.NoError(t, l.Close(t.Context()))
		require.Empty(t, p.states, "lost is the end")
	})
}

func TestALookThatFailsSoonAfterARenewalChangesNoState(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		const ttl = 10 * time.Second
		var rec etcdtest.Recorder
		p := newPulse()
		l, err := lease.Grant(t.Context(), s.Client(vtime.WithDialOptions(rec.DialOptions()...)), lease.WithTTL(ttl), p.observe(), p.listen())
		require.NoError(t, err)
		for range 3 { // as when every third look goes to a member without a leader
			rec.FailCalls("Txn", 1, codes.Unavailable)
			vtime.Advance(ttl/3 + 100*time.Millisecond)
			<-p.renewed
		}
		require.Empty(t, p.states)
		require.NoError(t, l.Close(t.Context()))
	})
}

func TestAListenerThatHangsDoesNotKeepTheLeaseFromEnding(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var rec etcdtest.Recorder
	let := make(chan struct{})
	heard := make(chan lease.State, 10)
	hang := lease.WithStateListener(func(_ *lease.Lease, s lease.State) {
		heard <- s
		<-let
	})
	l := newLease(t, c.Client(t, etcdtest.WithRecorder(&rec)), lease.WithTTL(unhurried), hang)
	rec.Hook("Txn", func(context.Context, any, func() error) error { return status.Error(codes.FailedPrecondition, "no") })
	require.Equal(t, lease.Suspended, await(t, heard, "the state"))
	await(t, l.Context().Done(), "the end")
	require.ErrorIs(t, l.Err(), lease.ErrLost)
	require.Empty(t, heard, "one call at a time")
	close(let)
	require.Equal(t, lease.Lost, await(t, heard, "the state"))
}

func TestTheObserverHearsOfRenewalsAndLosses(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	leases := make(chan *lease.Lease, 10)
	p := newPulse()
	l := newLease(t, c.Client(t), lease.WithTTL(calm), lease.WithObserver(lease.Observer{
		Renewed: func(l *lease.Lease, took time.Duration) { leases <- l; p.renewed <- took },
		Lost:    func(l *lease.Lease, cause error) { leases <- l; p.lost <- cause },
	}))
	p.round(t, l)
	require.Same(t, l, await(t, leases, "the lease"))
	newOperator(t, c).revoke(t, l.ID())
	inside.Keys(l).Hurry()
	require.Equal(t, await(t, p.lost, "the loss"), context.Cause(l.Context()))
	require.Same(t, l, await(t, leases, "the lease"))
}
