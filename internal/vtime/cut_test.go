package vtime_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/conclave-go/conclave/internal/vtime"
)

func TestWhatALossyCutSwallowsNeverArrives(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		require.NoError(t, put(t, client, "k", "before", time.Second))
		cut.Cut()
		start := time.Now()
		require.ErrorIs(t, put(t, client, "k", "during", 10*time.Second), context.DeadlineExceeded)
		require.Equal(t, 10*time.Second, time.Since(start))
		cut.Heal()
		synctest.Wait() // else the client may still use the connection that is being reset
		require.NoError(t, put(t, client, "k", "after", time.Minute))
		vtime.Advance(time.Hour)
		require.Equal(t, int64(3), s.Etcd().KV().Rev(), "two puts")
	})
}

func TestAConnectionThatWasSilentSurvivesALossyCut(t *testing.T) {
	t.Parallel()
	var conns connCounter
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		require.NoError(t, put(t, client, "k", "v", time.Second))
		synctest.Wait()
		cut.Cut()
		vtime.Advance(20 * time.Minute) // after thirty, grpc drops an idle connection
		cut.Heal()
		require.NoError(t, put(t, client, "k", "v", time.Second))
		require.Equal(t, int64(1), conns.begun.Load())
	}, vtime.WithServerOptions(grpc.StatsHandler(&conns)))
}

func TestACallInFlightFailsWhenALossyCutHeals(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		require.NoError(t, put(t, client, "k", "v", time.Second))
		cut.CutToClient()
		failed := make(chan error, 1)
		go func() { failed <- put(t, client, "k", "v", time.Hour) }()
		vtime.Advance(10 * time.Second)
		require.Empty(t, failed)
		require.Equal(t, int64(3), s.Etcd().KV().Rev(), "it took effect")
		cut.Heal()
		synctest.Wait()
		require.Len(t, failed, 1)
		require.Error(t, <-failed)
	})
}

func TestACutTowardsTheServerLetsEventsThrough(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		events := client.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
		require.True(t, (<-events).Created)
		cut.CutToServer()
		require.NoError(t, put(t, s.Client(), "k", "v", time.Second))
		require.Len(t, (<-events).Events, 1)
		require.ErrorIs(t, put(t, client, "k", "v", time.Second), context.DeadlineExceeded)
		require.Equal(t, int64(2), s.Etcd().KV().Rev())
	})
}

func TestACutTowardsTheClientLetsRequestsThrough(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		require.NoError(t, put(t, client, "k", "v", time.Second))
		cut.CutToClient()
		require.ErrorIs(t, put(t, client, "k", "v", time.Second), context.DeadlineExceeded)
		require.Equal(t, int64(3), s.Etcd().KV().Rev())
	})
}

func TestAWatchResumesWithoutAGapAfterALossyCut(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		other := s.Client()
		events := client.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
		require.True(t, (<-events).Created)
		cut.Cut()
		for i := range 20 {
			require.NoError(t, put(t, other, "k", fmt.Sprint(i), time.Second))
		}
		vtime.Advance(time.Minute)
		require.Empty(t, events)
		cut.Heal()
		requireValues(t, events, 20)
	})
}

func TestAHeldRequestIsDeliveredAtTheMomentOfHealing(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]func(*vtime.Cut){
		"both ways": (*vtime.Cut).Hold, "to the server": (*vtime.Cut).HoldToServer, "to the client": (*vtime.Cut).HoldToClient,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var conns connCounter
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				client, cut := s.CutClient()
				require.NoError(t, put(t, client, "k", "v", time.Second))
				hold(cut)
				start := time.Now()
				time.AfterFunc(10*time.Second, cut.Heal)
				require.NoError(t, put(t, client, "k", "v", time.Minute))
				require.Equal(t, 10*time.Second, time.Since(start))
				require.Equal(t, int64(1), conns.begun.Load(), "on the same connection")
			}, vtime.WithServerOptions(grpc.StatsHandler(&conns)))
		})
	}
}

func TestHeldEventsArriveInOrderAndAtOnce(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		other := s.Client()
		events := client.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
		require.True(t, (<-events).Created)
		cut.HoldToClient()
		for i := range 200 {
			require.NoError(t, put(t, other, "k", fmt.Sprint(i), time.Second))
		}
		vtime.Advance(time.Hour)
		require.Empty(t, events)
		start := time.Now()
		cut.Heal()
		requireValues(t, events, 200)
		require.Equal(t, start, time.Now())
	})
}

func TestManyHeldRequestsAreDeliveredInOrderWithThoseThatFollow(t *testing.T) {
	t.Parallel()
	const calls = 300
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		require.NoError(t, put(t, client, "k", "v", time.Second))
		cut.HoldToServer()
		failed := make(chan error, 2*calls)
		value := string(make([]byte, 4<<10)) // together more than the pipe can buffer
		for i := range 2 * calls {
			if i == calls {
				synctest.Wait()
				cut.Heal()
			}
			go func() { failed <- put(t, client, fmt.Sprint(i), value, time.Minute) }()
		}
		for range 2 * calls {
			require.NoError(t, <-failed)
		}
	})
}

func TestAHoldThatTurnsLossyLosesWhatItHeld(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		require.NoError(t, put(t, client, "k", "v", time.Second))
		cut.Hold()
		require.Error(t, put(t, client, "k", "v", time.Second))
		cut.Cut()
		cut.Heal()
		vtime.Advance(time.Minute)
		require.Equal(t, int64(2), s.Etcd().KV().Rev())
		require.NoError(t, put(t, client, "k", "v", time.Minute))
	})
}

func TestDiallingWaitsForTheNetwork(t *testing.T) {
	t.Parallel()
	for name, cutWay := range map[string]func(*vtime.Cut){
		"cut": (*vtime.Cut).Cut, "cut to server": (*vtime.Cut).CutToServer, "hold to client": (*vtime.Cut).HoldToClient,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				client, cut := s.CutClient()
				cutWay(cut)
				start := time.Now()
				time.AfterFunc(10*time.Second, cut.Heal) // before grpc gives up its first attempt
				require.NoError(t, put(t, client, "k", "v", time.Minute))
				require.Equal(t, 10*time.Second, time.Since(start))
			})
		})
	}
}

func TestTheServerLearnsOfAClosedClientOnlyWhenHealed(t *testing.T) {
	t.Parallel()
	for name, cutWay := range map[string]func(*vtime.Cut){"lossy": (*vtime.Cut).Cut, "held": (*vtime.Cut).Hold} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var conns connCounter
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				client, cut := s.CutClient()
				require.NoError(t, put(t, client, "k", "v", time.Second))
				synctest.Wait()
				cutWay(cut)
				require.NoError(t, client.Close())
				vtime.Advance(time.Hour)
				require.Zero(t, conns.ended.Load())
				cut.Heal()
				synctest.Wait()
				require.Equal(t, int64(1), conns.ended.Load())
			}, vtime.WithServerOptions(grpc.StatsHandler(&conns)))
		})
	}
}

func TestAClientLearnsOfAStoppedServerOnlyWhenHealed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		cut     func(*vtime.Cut)
		outcome require.ErrorAssertionFunc
	}{
		{"lossy", (*vtime.Cut).CutToClient, require.Error},
		{"held", (*vtime.Cut).HoldToClient, require.NoError}, // its reply was on the way before the server stopped
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				client, cut := s.CutClient()
				require.NoError(t, put(t, client, "k", "v", time.Second))
				tc.cut(cut)
				outcome := make(chan error, 1)
				go func() { outcome <- put(t, client, "k", "v", 24*time.Hour) }()
				synctest.Wait()
				s.Stop()
				// A connection also tells of its end when it is written to.
				require.ErrorIs(t, put(t, client, "k", "v", time.Hour), context.DeadlineExceeded)
				require.Empty(t, outcome)
				cut.Heal()
				synctest.Wait()
				require.Len(t, outcome, 1)
				tc.outcome(t, <-outcome)
				s.Start()
				require.NoError(t, put(t, client, "k", "v", 10*time.Minute))
			})
		})
	}
}

func TestResetIsSeenByBothSidesEvenWhileCut(t *testing.T) {
	t.Parallel()
	var conns connCounter
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		require.NoError(t, put(t, client, "k", "v", time.Second))
		cut.Hold()
		failed := make(chan error, 1)
		go func() { failed <- put(t, client, "k", "v", time.Hour) }()
		synctest.Wait()
		cut.Reset()
		synctest.Wait()
		require.Equal(t, int64(1), conns.ended.Load())
		require.Error(t, <-failed)
		cut.Heal()
		require.NoError(t, put(t, client, "k", "v", time.Minute))
		require.Equal(t, int64(3), s.Etcd().KV().Rev(), "what was held is lost")
	}, vtime.WithServerOptions(grpc.StatsHandler(&conns)))
}

func TestACutConcernsOneClientOnly(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		_, cut := s.CutClient()
		cut.Cut()
		require.NoError(t, put(t, s.Client(), "k", "v", time.Second))
	})
}

func TestRunEndsWithCutsInPlaceAndCallsInFlight(t *testing.T) {
	t.Parallel()
	for name, cutWay := range map[string]func(*vtime.Cut){
		"cut": (*vtime.Cut).Cut, "hold": (*vtime.Cut).Hold, "cut to server": (*vtime.Cut).CutToServer, "cut to client": (*vtime.Cut).CutToClient,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				client, cut := s.CutClient()
				newSession(t, client, 5)
				client.Watch(t.Context(), "k")
				synctest.Wait()
				cutWay(cut)
				go put(t, client, "k", "v", time.Hour) //nolint:errcheck // fails when Run closes the client
				synctest.Wait()
			})
		})
	}
}

func TestOptionsOfAClientAreUsed(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var methods []string
		record := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			methods = append(methods, method)
			return call(ctx, method, req, reply, cc, opts...)
		}
		var edited bool
		client := s.Client(vtime.WithDialOptions(grpc.WithChainUnaryInterceptor(record)),
			vtime.WithConfig(func(c *clientv3.Config) { edited = len(c.Endpoints) == 1 }))
		require.NoError(t, put(t, client, "k", "v", time.Second))
		require.Equal(t, []string{"/etcdserverpb.KV/Put"}, methods)
		require.True(t, edited)
	})
}

// requireValues takes events until it has n, whose values must be 0 to n-1 in this order.
func requireValues(t *testing.T, events clientv3.WatchChan, n int) {
	t.Helper()
	next := 0
	for next < n {
		batch := <-events
		require.NoError(t, batch.Err())
		for _, ev := range batch.Events {
			require.Equal(t, fmt.Sprint(next), string(ev.Kv.Value))
			next++
		}
	}
}

// connCounter counts the connections that a server has seen begin and end.
type connCounter struct{ begun, ended atomic.Int64 }

func (*connCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (*connCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*connCounter) HandleRPC(context.Context, stats.RPCStats)                         {}

func (c *connCounter) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		c.begun.Add(1)
	case *stats.ConnEnd:
		c.ended.Add(1)
	}
}
