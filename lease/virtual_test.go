package lease_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

const (
	// serverTick is how often etcd looks for expired leases.
	serverTick = 500 * time.Millisecond
	// mostDrag is the most that one message takes in a dragging network.
	mostDrag = 50 * time.Millisecond
)

// partition is one way in which a client is cut off while it holds a lease, drawn from a seed.
type partition struct {
	seed  uint64
	ttl   time.Duration
	way   string
	cut   func(*vtime.Cut)
	phase time.Duration // of the client's start, relative to the server's tick
	age   time.Duration // of the lease when the cut comes
	lasts time.Duration
	drag  time.Duration // the most that one message takes
}

func (p partition) String() string {
	return fmt.Sprintf("seed %d: TTL %v, cut %s for %v after %v, messages take up to %v", p.seed, p.ttl, p.way, p.lasts, p.age, p.drag)
}

func drawPartition(seed uint64) partition {
	draw := rand.New(rand.NewPCG(seed, 2))
	upTo := func(d time.Duration) time.Duration { return time.Duration(draw.Int64N(int64(d))) }
	ttls := []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}
	ways := []struct {
		name string
		cut  func(*vtime.Cut)
	}{
		{"off", (*vtime.Cut).Cut},
		{"to the server", (*vtime.Cut).CutToServer},
		{"to the client", (*vtime.Cut).CutToClient},
		{"off, held", (*vtime.Cut).Hold},
		{"to the server, held", (*vtime.Cut).HoldToServer},
		{"to the client, held", (*vtime.Cut).HoldToClient},
	}
	ttl, way := ttls[seed%uint64(len(ttls))], ways[seed%uint64(len(ways))]
	return partition{
		seed: seed, ttl: ttl, way: way.name, cut: way.cut,
		phase: upTo(serverTick), age: upTo(3 * ttl), lasts: upTo(2 * ttl), drag: upTo(ttl / 25),
	}
}

// aftermath is what became of a lease in a partition, in virtual time. Times are zero for what did not happen.
type aftermath struct {
	cut     time.Time
	ended   time.Time // the client's side was told
	deleted time.Time // the server removed the lease's key
	// early says that the client's side had been told when the deletion was seen.
	early bool
}

// holder is a lease under test: ours, or the official session's.
type holder struct {
	id    clientv3.LeaseID
	done  <-chan struct{}
	close func(ctx context.Context) error
}

// run cuts off the holder that begin makes, while a client that is not cut off watches a key of its lease.
func (p partition) run(t *testing.T, begin func(t *testing.T, client *clientv3.Client) holder) (a aftermath) {
	t.Helper()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		vtime.Sleep(p.phase)
		client, cut := s.CutClient(vtime.WithDrag(vtime.NewDrag(p.seed, p.drag)))
		h := begin(t, client)
		witness := s.Client()
		_, err := witness.Put(t.Context(), "key", "", clientv3.WithLease(h.id))
		require.NoError(t, err)
		events := witness.Watch(anHour(t), "key", clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
		require.True(t, (<-events).Created)
		go func() {
			if resp := <-events; len(resp.Events) > 0 {
				a.deleted = time.Now()
				select {
				case <-h.done:
					a.early = true
				default:
				}
			}
		}()
		go func() {
			<-h.done
			a.ended = time.Now()
		}()

		vtime.Sleep(p.age)
		a.cut = time.Now()
		p.cut(cut)
		vtime.Advance(p.lasts)
		cut.Heal()
		vtime.Advance(2*p.ttl + 5*time.Second)
		survived := a.ended.IsZero()
		require.Equal(t, survived, a.deleted.IsZero(), p)
		require.NoError(t, h.close(t.Context()))
		synctest.Wait()
		require.False(t, a.ended.IsZero(), p)
		require.False(t, a.deleted.IsZero(), p)
		if survived {
			a.ended, a.deleted = time.Time{}, time.Time{}
		}
	})
	return a
}

func TestNoLeaseOutlivesItsServersInTwoHundredPartitions(t *testing.T) {
	t.Parallel()
	const partitions = 200
	survived, closest, slowest, soonest := 0, time.Hour, 0.0, 1.0
	for seed := range uint64(partitions) {
		p := drawPartition(seed)
		a := p.run(t, func(t *testing.T, client *clientv3.Client) holder {
			t.Helper()
			l, err := lease.Grant(t.Context(), client, lease.WithTTL(p.ttl))
			require.NoError(t, err)
			return holder{l.ID(), l.Context().Done(), l.Close}
		})
		if a.ended.IsZero() {
			survived++
			continue
		}
		require.True(t, a.early, "%v: the key was gone while the lease was thought valid", p)
		require.False(t, a.ended.After(a.deleted), "%v: ended at %v, deleted at %v", p, a.ended, a.deleted)
		require.Greater(t, p.lasts+10*p.drag, p.ttl/3, "%v: a shorter partition costs nobody a lease", p)
		require.LessOrEqual(t, a.ended.Sub(a.cut), p.ttl, "%v: the loss is noticed within the TTL", p)
		require.LessOrEqual(t, a.deleted.Sub(a.cut), p.ttl+time.Second, "%v: the server is rid of it within the TTL and a second", p)
		closest = min(closest, a.deleted.Sub(a.ended))
		slowest = max(slowest, float64(a.deleted.Sub(a.cut)-p.ttl)/float64(time.Second))
		soonest = min(soonest, float64(p.lasts)/float64(p.ttl))
	}
	t.Logf("%d of %d leases survived; the others ended %v or more before the server's end, which came at most %.2f s after cut + TTL; "+
		"the shortest partition that cost a lease took %.2f of its TTL", survived, partitions, closest, slowest, soonest)
	require.Greater(t, survived, partitions/10, "some partitions are short")
	require.Less(t, survived, partitions/2)
}

// The same partitions, the same latencies, the official session: it reports its loss, in many of them, when the server
// has already let others in.
func TestTheOfficialSessionIsLateInMany(t *testing.T) {
	t.Parallel()
	const partitions = 60
	lost, late, latest := 0, 0, time.Duration(0)
	for seed := range uint64(partitions) {
		p := drawPartition(seed)
		a := p.run(t, func(t *testing.T, client *clientv3.Client) holder {
			t.Helper()
			s, err := concurrency.NewSession(client, concurrency.WithTTL(int(p.ttl/time.Second)))
			require.NoError(t, err)
			return holder{s.Lease(), s.Done(), func(context.Context) error {
				_ = s.Close() // fails if the lease is gone
				return nil
			}}
		})
		if a.ended.IsZero() {
			continue
		}
		lost++
		if !a.early {
			late++
			latest = max(latest, a.ended.Sub(a.deleted))
		}
	}
	t.Logf("%d of %d official sessions that lost their lease were late to say so, by up to %v", late, lost, latest)
	require.Greater(t, late, lost/5)
}

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
		confirmed := 0
		late := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := call(ctx, method, req, reply, cc, opts...)
			if method == pb.KV_Txn_FullMethodName { // the look
				vtime.Sleep(8 * time.Second)
				confirmed++
			}
			return err
		}
		l, began := grantAt(t, s.Client(vtime.WithDialOptions(grpc.WithChainUnaryInterceptor(late))), lease.WithTTL(10*time.Second))
		vtime.Advance(9899 * time.Millisecond)
		require.NoError(t, l.Err())
		vtime.Advance(time.Millisecond)
		requireLost(t, l)
		vtime.Advance(time.Minute)
		require.Equal(t, 1, confirmed, "the look did succeed")
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

func TestAnIdleSessionCostsOneKeepAliveAndOneReadARoundForADay(t *testing.T) {
	t.Parallel()
	const ttl = 30 * time.Second
	life := 24 * time.Hour
	if underRaceDetector() {
		life = 2 * time.Hour // which makes each of them four times as expensive
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

func TestARegistrationIsBackSoonAfterAnOutageOfAnyLength(t *testing.T) {
	t.Parallel()
	for _, outage := range []time.Duration{2 * time.Second, 20 * time.Second, time.Hour} {
		for name, cutOff := range map[string]func(*vtime.Cut){"cut": (*vtime.Cut).Cut, "held": (*vtime.Cut).Hold, "cut to the client": (*vtime.Cut).CutToClient} {
			t.Run(fmt.Sprint(name, " for ", outage), func(t *testing.T) {
				t.Parallel()
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					calls := vtime.NewDrag(1, mostDrag)
					client, cut := s.CutClient(vtime.WithDrag(calls))
					session, err := lease.NewSession(t.Context(), client, lease.WithTTL(5*time.Second))
					require.NoError(t, err)
					r, err := lease.Register(t.Context(), session, "key", "value")
					require.NoError(t, err)
					vtime.Advance(time.Minute)
					require.NoError(t, r.Err())

					before := total(calls)
					cutOff(cut)
					vtime.Advance(outage)
					t.Logf("%d calls in %v", total(calls)-before, outage)
					require.LessOrEqual(t, total(calls)-before, 30+int(outage/time.Second), "no hot loop")
					cut.Heal()
					vtime.Advance(10 * time.Second)
					require.NoError(t, r.Err())
					requireOwned(t, s, session, "key")
					vtime.Advance(time.Minute) // what the outage left behind has expired
					requireOwned(t, s, session, "key")
					left, err := s.Client().Leases(t.Context())
					require.NoError(t, err)
					require.Len(t, left.Leases, 1)
					require.NoError(t, session.Close(t.Context()))
				})
			})
		}
	}
}

func TestADeletedRegistrationIsBackWithinARound(t *testing.T) {
	t.Parallel()
	const ttl = 10 * time.Second
	draw := rand.New(rand.NewPCG(1, 2))
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		session, err := lease.NewSession(t.Context(), s.Client(vtime.WithDrag(vtime.NewDrag(1, mostDrag))), lease.WithTTL(ttl))
		require.NoError(t, err)
		r, err := lease.Register(t.Context(), session, "key", "value")
		require.NoError(t, err)
		operator := s.Client()
		var longest time.Duration
		for range 100 {
			vtime.Sleep(time.Duration(draw.Int64N(int64(ttl))))
			_, err := operator.Delete(t.Context(), "key")
			require.NoError(t, err)
			began := time.Now()
			events := operator.Watch(anHour(t), "key", clientv3.WithFilterDelete())
			require.NotEmpty(t, (<-events).Events)
			longest = max(longest, time.Since(began))
			synctest.Wait()
		}
		t.Logf("back within %v", longest)
		require.LessOrEqual(t, longest, ttl/3+10*mostDrag)
		vtime.Advance(time.Second)
		require.NoError(t, r.Err())
		require.NoError(t, session.Close(t.Context()))
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
