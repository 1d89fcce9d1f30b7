package lease_test

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

const (
	// serverTick is how often etcd looks for expired leases.
	serverTick = 500 * time.Millisecond
	// mostDrag is the most that one message takes in a dragging network.
	mostDrag = 50 * time.Millisecond
)

func TestTheDeadlineCountsFromTheSendingOfARenewal(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		l, began := grantAt(t, client, lease.WithTTL(10*time.Second), lease.WithClockDrift(0))
		require.Equal(t, began.Add(10*time.Second), l.Deadline())

		vtime.Advance(3 * time.Second)
		cut.HoldToClient()
		vtime.Advance(time.Second) // a renewal is sent after 3.33 s; its reply takes until now
		require.Equal(t, began.Add(10*time.Second), l.Deadline())
		cut.Heal()
		synctest.Wait()
		require.Equal(t, began.Add(10*time.Second/3+10*time.Second), l.Deadline())
		require.Equal(t, lease.Healthy, l.State())
		require.NoError(t, l.Close(t.Context()))
	})
}

func TestADelayedReplyToTheGrantLeavesLessOfTheLease(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		_, err := client.Get(t.Context(), "warm up")
		require.NoError(t, err)
		cut.HoldToClient()
		time.AfterFunc(2*time.Second, cut.Heal)
		began := time.Now()
		l, err := lease.Grant(t.Context(), client, lease.WithTTL(10*time.Second), lease.WithClockDrift(0))
		require.NoError(t, err)
		require.Equal(t, 2*time.Second, time.Since(began))
		require.Equal(t, began.Add(10*time.Second), l.Deadline())
		require.Equal(t, 8*time.Second, l.Remaining())
		require.NoError(t, l.Close(t.Context()))
	})
}

func TestNoLeaseIsBornWithItsDeadlinePassed(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Second
	for what, begin := range map[string]func(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID, opts ...lease.Option) (*lease.Session, error){
		"granted": func(ctx context.Context, client *clientv3.Client, _ clientv3.LeaseID, opts ...lease.Option) (*lease.Session, error) {
			return lease.NewSession(ctx, client, append(opts, lease.WithoutHealing())...)
		},
		"adopted": lease.Adopt,
	} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			client, cut := s.CutClient()
			granted, err := s.Client().Grant(t.Context(), int64(ttl/time.Second))
			require.NoError(t, err)
			_, err = client.Get(t.Context(), "warm up")
			require.NoError(t, err)
			cut.HoldToClient()
			time.AfterFunc(7*time.Second, cut.Heal)
			session, err := begin(anHour(t), client, granted.ID, lease.WithTTL(ttl), lease.WithClockDrift(0.4))
			require.NoError(t, err, what)
			l, err := session.Lease(t.Context())
			require.NoError(t, err, what)
			require.Greater(t, l.Remaining(), time.Second, what)
			require.NoError(t, session.Close(t.Context()), what)
		})
	}
}

func TestAReplyHeldPastTheDeadlineRevivesNothing(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		l, began := grantAt(t, client, lease.WithTTL(10*time.Second))
		over := make(chan time.Time, 1)
		context.AfterFunc(l.Context(), func() { over <- time.Now() })

		cut.HoldToClient()
		vtime.Advance(15 * time.Second)
		require.Equal(t, began.Add(9900*time.Millisecond), <-over)
		requireLost(t, l)
		cut.Heal()
		vtime.Advance(time.Minute)
		requireLost(t, l)
		require.Equal(t, began.Add(9900*time.Millisecond), l.Deadline())
	})
}

// Here the reply does reach the keeper, successfully, only too late: the client's last word on it is the deadline.
func TestARenewalConfirmedAfterTheDeadlineRevivesNothing(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var confirmed atomic.Int64
		late := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := call(ctx, method, req, reply, cc, opts...)
			if method == pb.KV_Txn_FullMethodName { // the look
				vtime.Sleep(8 * time.Second)
				confirmed.Add(1)
			}
			return err
		}
		l, began := grantAt(t, s.Client(vtime.WithDialOptions(grpc.WithChainUnaryInterceptor(late))), lease.WithTTL(10*time.Second))
		vtime.Advance(9899 * time.Millisecond)
		require.NoError(t, l.Err())
		vtime.Advance(time.Millisecond)
		requireLost(t, l)
		vtime.Advance(time.Minute)
		require.Positive(t, confirmed.Load(), "the look did succeed")
		requireLost(t, l)
		require.Equal(t, began.Add(9900*time.Millisecond), l.Deadline())
	})
}

func TestALeaseThatTheServerStillRenewsIsRevokedAfterItsLoss(t *testing.T) {
	t.Parallel()
	const ttl = 30 * time.Second
	for _, tc := range []struct {
		name     string
		breakOff func(cut *vtime.Cut, began time.Time)
		gone     time.Duration // since the beginning, at the latest
	}{
		// Renewals get through until the end, so that the server's lease would last for another TTL.
		{"replies are lost", func(cut *vtime.Cut, _ time.Time) { cut.CutToClient() }, ttl + time.Second},
		// As before, and then everything is: the revocation waits for the healing, after 40 s.
		{"everything is lost in the end", func(cut *vtime.Cut, began time.Time) {
			cut.CutToClient()
			time.AfterFunc(time.Until(began.Add(29500*time.Millisecond)), cut.Cut)
			time.AfterFunc(time.Until(began.Add(40*time.Second)), cut.Heal)
		}, 45 * time.Second},
		{"everything is held in the end", func(cut *vtime.Cut, began time.Time) {
			cut.HoldToClient()
			time.AfterFunc(time.Until(began.Add(29500*time.Millisecond)), cut.Hold)
			time.AfterFunc(time.Until(began.Add(40*time.Second)), cut.Heal)
		}, 45 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				client, cut := s.CutClient()
				l, began := grantAt(t, client, lease.WithTTL(ttl))
				witness := s.Client()
				_, err := witness.Put(t.Context(), "key", "", clientv3.WithLease(l.ID()))
				require.NoError(t, err)
				events := witness.Watch(anHour(t), "key", clientv3.WithFilterPut())
				tc.breakOff(cut, began)

				vtime.Sleep(ttl - time.Second)
				left, err := witness.TimeToLive(t.Context(), l.ID())
				require.NoError(t, err)
				require.Greater(t, left.TTL, int64(ttl/time.Second/2), "the server has been renewing")
				awaitEnd(t, l)
				require.NotEmpty(t, (<-events).Events)
				require.LessOrEqual(t, time.Since(began), tc.gone)
				require.NoError(t, l.Close(t.Context()), "the keeper has ended")
			})
		})
	}
}

func TestAnIdleSessionCostsOneKeepAliveAndOneReadARoundForHours(t *testing.T) {
	t.Parallel()
	const ttl = 30 * time.Second
	life := suite.Long(2*time.Hour, 24*time.Hour)
	if underRaceDetector() {
		life = time.Hour // which makes each of them four times as expensive
	}
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		calls := vtime.NewDrag(1, 0)
		var states []lease.State
		session, err := lease.NewSession(t.Context(), s.Client(vtime.WithDrag(calls)), lease.WithTTL(ttl),
			lease.WithStateListener(func(_ *lease.Lease, s lease.State) { states = append(states, s) }))
		require.NoError(t, err)
		first, err := session.Lease(t.Context())
		require.NoError(t, err)
		vtime.Advance(life)
		l, err := session.Lease(t.Context())
		require.NoError(t, err)
		require.Same(t, first, l)
		require.Empty(t, states, "healthy throughout")
		require.GreaterOrEqual(t, l.Remaining(), ttl/2)

		rounds := int(life / (ttl / 3))
		require.Equal(t, map[string]int{
			"LeaseGrant":              1,
			"LeaseKeepAlive (opened)": 1,
			"LeaseKeepAlive":          rounds,
			"Txn":                     rounds,
		}, calls.Counted())
		require.NoError(t, session.Close(t.Context()))
	})
}

func TestAnOutageSuspendsALeaseAndIsNoHotLoop(t *testing.T) {
	t.Parallel()
	for name, breakDown := range map[string]func(*vtime.Server, *vtime.Cut){
		"cut off":      func(_ *vtime.Server, cut *vtime.Cut) { cut.Cut() },
		"replies held": func(_ *vtime.Server, cut *vtime.Cut) { cut.HoldToClient() },
		"refused":      func(s *vtime.Server, _ *vtime.Cut) { s.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				const ttl = 10 * time.Second
				calls := vtime.NewDrag(1, 0)
				client, cut := s.CutClient(vtime.WithDrag(calls))
				type change struct {
					state lease.State
					after time.Duration
				}
				var changes []change
				var began time.Time
				l, began := grantAt(t, client, lease.WithTTL(ttl), lease.WithStateListener(func(_ *lease.Lease, s lease.State) {
					changes = append(changes, change{s, time.Since(began)})
				}))
				breakDown(s, cut)
				awaitEnd(t, l)
				synctest.Wait()
				require.Len(t, changes, 2)
				require.Equal(t, lease.Suspended, changes[0].state)
				require.GreaterOrEqual(t, changes[0].after, ttl/3, "the renewal was not due before")
				require.Less(t, changes[0].after, ttl*6/10, "the first attempt is given up in time for others")
				require.Equal(t, change{lease.Lost, 9900 * time.Millisecond}, changes[1])
				attempts := calls.Counted()["LeaseKeepAlive (opened)"]
				t.Logf("%d attempts, suspended after %v", attempts, changes[0].after)
				require.GreaterOrEqual(t, attempts, 3)
				require.LessOrEqual(t, total(calls), 30)

				before := total(calls)
				vtime.Advance(time.Hour)
				require.Less(t, total(calls)-before, 30, "the revocation is not tried for ever")
			})
		})
	}
}

func TestASuspendedLeaseIsHealthyAgainAfterAShortOutage(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		var states []lease.State
		l, _ := grantAt(t, client, lease.WithTTL(10*time.Second),
			lease.WithStateListener(func(_ *lease.Lease, s lease.State) { states = append(states, s) }))
		for range 20 {
			cut.Cut()
			vtime.Advance(6 * time.Second)
			cut.Heal()
			vtime.Advance(9 * time.Second)
		}
		require.NoError(t, l.Err())
		require.Len(t, states, 40)
		for i, s := range states {
			require.Equal(t, []lease.State{lease.Suspended, lease.Healthy}[i%2], s)
		}
		require.NoError(t, l.Close(t.Context()))
	})
}

func TestClockDriftBringsTheDeadlineForward(t *testing.T) {
	t.Parallel()
	for drift, valid := range map[float64]time.Duration{0: 10 * time.Second, 0.01: 9900 * time.Millisecond, 0.25: 7500 * time.Millisecond} {
		t.Run(fmt.Sprint(drift), func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				client, cut := s.CutClient()
				l, began := grantAt(t, client, lease.WithTTL(10*time.Second), lease.WithClockDrift(drift))
				require.Equal(t, began.Add(valid), l.Deadline())
				vtime.Advance(4 * time.Second) // a renewal
				renewed := began.Add(10 * time.Second / 3)
				require.Equal(t, renewed.Add(valid), l.Deadline())
				cut.Cut()
				awaitEnd(t, l)
				require.Equal(t, renewed.Add(valid), time.Now())
			})
		})
	}
}

func TestTheTTLIsTheOneTheServerGranted(t *testing.T) {
	t.Parallel()
	var asked int64
	generous := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if grant, ok := req.(*pb.LeaseGrantRequest); ok {
			asked, grant.TTL = grant.TTL, 7
		}
		return handle(ctx, req)
	}
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		l, began := grantAt(t, s.Client(), lease.WithTTL(2*time.Second), lease.WithClockDrift(0))
		require.Equal(t, int64(2), asked)
		require.Equal(t, 7*time.Second, l.TTL())
		require.Equal(t, began.Add(7*time.Second), l.Deadline())
		vtime.Advance(time.Minute)
		require.NoError(t, l.Err())
		require.NoError(t, l.Close(t.Context()))
	}, vtime.WithServerOptions(grpc.UnaryInterceptor(generous)))
}

func TestASessionHealsAfterALoss(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient(vtime.WithDrag(vtime.NewDrag(1, mostDrag)))
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(5*time.Second))
		require.NoError(t, err)
		seen := make(map[clientv3.LeaseID]bool)
		for range 5 {
			l, err := session.Lease(t.Context())
			require.NoError(t, err)
			require.False(t, seen[l.ID()])
			seen[l.ID()] = true
			vtime.Advance(time.Minute)
			cut.Cut()
			awaitEnd(t, l)
			time.AfterFunc(time.Minute, cut.Heal)
		}
		l, err := session.Lease(t.Context())
		require.NoError(t, err)
		require.NoError(t, session.Close(t.Context()))
		require.ErrorIs(t, l.Err(), lease.ErrClosed)
		left, err := s.Client().Leases(t.Context())
		require.NoError(t, err)
		require.Empty(t, left.Leases, "nothing is left behind")
	})
}

// anHour is a context that ends a test that would wait for ever, and spin in virtual time.
func anHour(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(cancel)
	return ctx
}

func awaitEnd(t *testing.T, l *lease.Lease) {
	t.Helper()
	select {
	case <-l.Context().Done():
	case <-anHour(t).Done():
		require.Fail(t, "the lease does not end")
	}
}

// grantAt returns a lease and when its grant was sent, which takes no virtual time.
func grantAt(t *testing.T, client *clientv3.Client, opts ...lease.Option) (l *lease.Lease, began time.Time) {
	t.Helper()
	began = time.Now()
	l, err := lease.Grant(t.Context(), client, opts...)
	require.NoError(t, err)
	return l, began
}

func requireLost(t *testing.T, l *lease.Lease) {
	t.Helper()
	require.ErrorIs(t, l.Err(), lease.ErrLost)
	require.Equal(t, lease.Lost, l.State())
	require.ErrorIs(t, context.Cause(l.Context()), lease.ErrLost)
	require.LessOrEqual(t, l.Remaining(), time.Duration(0))
}

// requireOwned fails unless key is there under the session's present lease.
func requireOwned(t *testing.T, s *vtime.Server, session *lease.Session, key string) {
	t.Helper()
	l, err := session.Lease(t.Context())
	require.NoError(t, err)
	got, err := s.Client().Get(t.Context(), key)
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	require.Equal(t, l.ID(), clientv3.LeaseID(got.Kvs[0].Lease))
}

// underRaceDetector reports whether the test was built with -race.
func underRaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// total is how many requests have been sent.
func total(d *vtime.Drag) (n int) {
	for _, m := range d.Counted() {
		n += m
	}
	return n
}
