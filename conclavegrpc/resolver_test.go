package conclavegrpc_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/conclavegrpc"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

func TestARollingRestartFailsNoCall(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, name, session := c.Client(t), service(t, c), newSession(t, c.Client(t))
	type running struct {
		*server

		registration *conclavegrpc.Registration
	}
	start := func(i int) running {
		s := newServer(t)
		return running{s, register(t, session, name, fmt.Sprint(i), s.addr, conclavegrpc.WithDrainGrace(200*time.Millisecond))}
	}
	fleet := []running{start(0), start(1), start(2)}
	conn := dial(t, newBuilder(t, client), "etcd:///"+name)
	awaitCallers(t, conn, fleet[0].addr, fleet[1].addr, fleet[2].addr)

	ctx, cancel := context.WithCancel(guarded(t))
	defer cancel()
	var callers sync.WaitGroup
	var calls, failed atomic.Int64
	for range 4 {
		callers.Go(func() { // ends with ctx
			for ctx.Err() == nil {
				if _, err := call(context.WithoutCancel(ctx), conn); err != nil {
					failed.Add(1)
					t.Error(err)
				}
				calls.Add(1)
			}
		})
	}
	for i := range fleet {
		next := start(i + 10)
		if err := fleet[i].registration.Drain(guarded(t), fleet[i].Server); err != nil { // a busy machine confirms late
			require.ErrorContains(t, err, "has not confirmed")
			require.NoError(t, fleet[i].registration.Close(guarded(t)))
		}
		fleet[i] = next
	}
	awaitCallers(t, conn, fleet[0].addr, fleet[1].addr, fleet[2].addr)
	cancel()
	callers.Wait()
	require.Zero(t, failed.Load())
	require.Positive(t, calls.Load())
}

func TestAddressesServeWhileEtcdIsDownAndThatTheyAreOldIsTold(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client, name := c.Client(t, etcdtest.WithFastReconnect()), service(t, c)
	s := newServer(t)
	register(t, newSession(t, c.Client(t)), name, "a", s.addr)
	told := make(chan conclavegrpc.Staleness, 10)
	conn := dial(t, newBuilder(t, client, conclavegrpc.WithLogger(slog.New(slog.DiscardHandler)),
		conclavegrpc.WithStaleness(10*time.Second, func(s conclavegrpc.Staleness) { told <- s })), "etcd:///"+name)
	awaitCallers(t, conn, s.addr)

	require.NoError(t, c.Stop(guarded(t), 0))
	old := await(t, told)
	require.ErrorIs(t, old.Err, conclavegrpc.ErrUnreachable)
	require.Equal(t, name, old.Service)
	require.False(t, old.Since.IsZero())
	awaitCallers(t, conn, s.addr)
	require.NoError(t, c.Restart(guarded(t), 0))
	fresh := await(t, told)
	require.NoError(t, fresh.Err)
	require.True(t, fresh.Since.IsZero())
}

func TestAnEmptyRegistryKeepsTheLastAddressesOrFailsCallsAsToldTo(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, name := c.Client(t), service(t, c)
	s, session := newServer(t), newSession(t, c.Client(t))
	r := register(t, session, name, "a", s.addr)
	told := make(chan conclavegrpc.Staleness, 10)
	keeps := dial(t, newBuilder(t, client, conclavegrpc.WithStaleness(0, func(s conclavegrpc.Staleness) { told <- s })), "etcd:///"+name)
	fails := dial(t, newBuilder(t, client, conclavegrpc.WithEmpty(conclavegrpc.FailCalls)), "etcd:///"+name)
	awaitCallers(t, keeps, s.addr)
	awaitCallers(t, fails, s.addr)

	require.NoError(t, r.Close(guarded(t)))
	require.ErrorIs(t, await(t, told).Err, conclavegrpc.ErrEmpty)
	awaitCallers(t, keeps, s.addr)
	for ctx := guarded(t); ; {
		_, err := call(ctx, fails)
		if status.Code(err) == codes.Unavailable {
			break
		}
		require.NoError(t, err)
	}
	register(t, session, name, "a", s.addr)
	require.NoError(t, await(t, told).Err)
	awaitCallers(t, fails, s.addr)
}

func TestOnlyAServerThatServesIsInTheRegistry(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, name := c.Client(t), service(t, c)
	s, session := newServer(t), newSession(t, client)
	s.health.SetServingStatus("", healthgrpc.HealthCheckResponse_NOT_SERVING)
	r := register(t, session, name, "a", s.addr, conclavegrpc.WithHealth(s.health, ""))
	defer func() { require.NoError(t, r.Close(guarded(t))) }()
	count := func(n int64) {
		t.Helper()
		for ctx := guarded(t); ; {
			resp, err := client.Get(ctx, name+"/a")
			require.NoError(t, err, "%d keys are wanted", n)
			if resp.Count == n {
				return
			}
		}
	}
	count(0)
	require.ErrorIs(t, r.Err(), conclavegrpc.ErrNotServing)
	require.NoError(t, r.Update(guarded(t), conclavegrpc.Endpoint{Addr: "elsewhere:1"}))
	for range 3 {
		s.health.SetServingStatus("", healthgrpc.HealthCheckResponse_SERVING)
		count(1)
		resp, err := client.Get(guarded(t), name+"/a")
		require.NoError(t, err)
		require.Contains(t, string(resp.Kvs[0].Value), "elsewhere:1", "the update counts")
		s.health.SetServingStatus("", healthgrpc.HealthCheckResponse_NOT_SERVING)
		count(0)
	}
	require.NoError(t, r.Close(guarded(t)))
	require.ErrorIs(t, r.Err(), lease.ErrClosed)
	require.ErrorIs(t, r.Update(guarded(t), conclavegrpc.Endpoint{Addr: "a:1"}), lease.ErrClosed)
}

func TestADrainThatMustNotWaitStopsTheServerAtOnce(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, s := service(t, c), newServer(t)
	r := register(t, newSession(t, c.Client(t)), name, "a", s.addr, conclavegrpc.WithDrainGrace(time.Hour))
	ctx, cancel := context.WithCancel(guarded(t))
	cancel()
	require.ErrorIs(t, r.Drain(ctx, s.Server), context.Canceled)
}

// capture is a connection that keeps the last state it was told.
type capture struct {
	resolver.ClientConn
	states chan resolver.State
}

func (c *capture) UpdateState(s resolver.State) error { c.states <- s; return nil }
func (c *capture) ReportError(error)                  {}

func resolve(t *testing.T, b resolver.Builder, service string, conn *capture) resolver.Resolver {
	t.Helper()
	target := resolver.Target{}
	target.URL.Path = "/" + service
	r, err := b.Build(target, conn, resolver.BuildOptions{})
	require.NoError(t, err)
	return r
}

func TestAConnectionThatWasIdleHasTheLastAddressesWhileEtcdIsDown(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client, name := c.Client(t, etcdtest.WithFastReconnect()), service(t, c)
	session := newSession(t, c.Client(t))
	register(t, session, name, "a", "a:1")
	told := make(chan conclavegrpc.Staleness, 1000)
	b := newBuilder(t, client, conclavegrpc.WithStaleness(100*time.Millisecond, func(s conclavegrpc.Staleness) { told <- s }))
	conn := &capture{states: make(chan resolver.State, 1000)}
	r := resolve(t, b, name, conn)
	require.Equal(t, "a:1", await(t, conn.states).Endpoints[0].Addresses[0].Addr)
	r.Close() // as gRPC does it when a connection is idle
	require.NoError(t, c.Stop(guarded(t), 0))
	for len(told) > 0 {
		<-told
	}

	asleep := time.Now()
	r = resolve(t, b, name, conn)
	defer r.Close()
	require.Equal(t, "a:1", await(t, conn.states).Endpoints[0].Addresses[0].Addr)
	old := await(t, told)
	require.ErrorIs(t, old.Err, conclavegrpc.ErrUnreachable)
	require.True(t, old.Since.Before(asleep), "since the connection was closed: %v", old.Since)
	require.NoError(t, c.Restart(guarded(t), 0))
	require.NoError(t, await(t, told).Err)
	register(t, session, name, "b", "b:1")
	for len(await(t, conn.states).Endpoints) != 2 {
		continue // the first is what is known again
	}
}

func TestMetadataAndWeightReachBalancers(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, name := c.Client(t), service(t, c)
	session := newSession(t, client)
	for instance, metadata := range map[string]any{"a": map[string]any{"weight": 2.5, "zone": "north"}, "b": nil, "c": "text"} {
		_, err := conclavegrpc.Register(guarded(t), session, name, instance, conclavegrpc.Endpoint{Addr: instance + ":1", Metadata: metadata})
		require.NoError(t, err)
	}
	conn := &capture{states: make(chan resolver.State, 10)}
	r := resolve(t, newBuilder(t, client), name, conn)
	defer r.Close()
	state := await(t, conn.states)
	require.Len(t, state.Endpoints, 3, "one state, whole, in the order of keys")
	require.Equal(t, "a:1", state.Endpoints[0].Addresses[0].Addr)
	require.Equal(t, map[string]any{"weight": 2.5, "zone": "north"}, conclavegrpc.Metadata(state.Endpoints[0]))
	require.EqualValues(t, 2.5, conclavegrpc.Weight(state.Endpoints[0]))
	require.Nil(t, conclavegrpc.Metadata(state.Endpoints[1]))
	require.EqualValues(t, 1, conclavegrpc.Weight(state.Endpoints[1]))
	require.Equal(t, "text", conclavegrpc.Metadata(state.Endpoints[2]))
	require.True(t, state.Endpoints[0].Attributes.Equal(state.Endpoints[0].Attributes), "gRPC compares them")
	require.False(t, state.Endpoints[0].Attributes.Equal(state.Endpoints[2].Attributes))
}

func TestAValueThatDoesNotDecodeIsPassedOverOrLeavesTheAddressAsItWas(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, name := c.Client(t), service(t, c)
	first, second := newServer(t), newServer(t)
	session := newSession(t, client)
	_, err := client.Put(guarded(t), name+"/wrong", "not JSON")
	require.NoError(t, err)
	register(t, session, name, "first", first.addr)
	conn := dial(t, newBuilder(t, client), "etcd:///"+name)
	awaitCallers(t, conn, first.addr)
	_, err = client.Put(guarded(t), name+"/first", `{"Op":0}`)
	require.NoError(t, err)
	register(t, session, name, "second", second.addr)
	awaitCallers(t, conn, first.addr, second.addr)
}

func TestConnectionsToOneServiceShareAWatch(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	rec := new(etcdtest.Recorder)
	client, name := c.Client(t, etcdtest.WithRecorder(rec)), service(t, c)
	s := newServer(t)
	register(t, newSession(t, c.Client(t)), name, "a", s.addr)
	b := newBuilder(t, client)
	for range 5 {
		awaitCallers(t, dial(t, b, "etcd:///"+name), s.addr)
	}
	require.Eventually(t, func() bool { return rec.Open("Watch") == 1 }, guard, 5*time.Millisecond, "others opened beside it are closed")
}

func TestWhatIsWrongIsRefusedByName(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client := c.Client(t)
	session := newSession(t, client)
	for want, o := range map[string]conclavegrpc.BuilderOption{
		"option is nil":       nil,
		"scheme is empty":     conclavegrpc.WithScheme(""),
		"empty 7: must be":    conclavegrpc.WithEmpty(7),
		"staleness after 3ns": conclavegrpc.WithStaleness(3, func(conclavegrpc.Staleness) {}),
		"staleness after -1s": conclavegrpc.WithStaleness(-time.Second, func(conclavegrpc.Staleness) {}),
		"staleness after 0s":  conclavegrpc.WithStaleness(0, nil),
		"logger is nil":       conclavegrpc.WithLogger(nil),
	} {
		_, err := conclavegrpc.NewBuilder(client, o)
		require.ErrorContains(t, err, "conclavegrpc: "+want)
	}
	_, err := conclavegrpc.NewBuilder(nil)
	require.ErrorContains(t, err, "client is nil")
	for want, try := range map[string]func() error{
		`service "": must not`:   func() error { return tryRegister(t, session, "", "a", "a:1") },
		`service "s/": must not`: func() error { return tryRegister(t, session, "s/", "a", "a:1") },
		"instance is empty":      func() error { return tryRegister(t, session, "s", "", "a:1") },
		"address is empty":       func() error { return tryRegister(t, session, "s", "a", "") },
		"drain grace -1s": func() error {
			return tryRegister(t, session, "s", "a", "a:1", conclavegrpc.WithDrainGrace(-time.Second))
		},
		"conclavegrpc: session is nil": func() error {
			return tryRegister(t, nil, "s", "a", "a:1", conclavegrpc.WithHealth(newServer(t).health, ""))
		},
		"health server is nil": func() error { return tryRegister(t, session, "s", "a", "a:1", conclavegrpc.WithHealth(nil, "")) },
	} {
		require.ErrorContains(t, try(), want)
	}
}

func tryRegister(t *testing.T, s *lease.Session, service, instance, addr string, opts ...conclavegrpc.RegisterOption) error {
	t.Helper()
	_, err := conclavegrpc.Register(guarded(t), s, service, instance, conclavegrpc.Endpoint{Addr: addr}, opts...)
	return err
}

func await[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-guarded(t).Done():
		t.Fatal("nothing has come")
	}
	return v
}
