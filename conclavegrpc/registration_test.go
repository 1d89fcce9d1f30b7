package conclavegrpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/conclavegrpc"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

// tick is how often tests look for what nobody tells them.
const tick = 5 * time.Millisecond

// lines is where a log is written to.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestAServerIsRegisteredOnceTheKeyOfTheInstanceBeforeHasGone(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	client, name := c.Client(t), service(t, c)
	killed, err := client.Grant(guarded(t), 300)
	require.NoError(t, err)
	_, err = client.Put(guarded(t), name+"/a", `{"Op":0,"Addr":"before:1"}`, clientv3.WithLease(killed.ID))
	require.NoError(t, err)
	s, log := newServer(t), new(lines)
	r := register(t, newSession(t, client), name, "a", s.addr, conclavegrpc.WithHealth(s.health, ""),
		conclavegrpc.WithLogger(slog.New(slog.NewTextHandler(log, nil))))
	defer func() { require.NoError(t, r.Close(guarded(t))) }()
	taken := func(err error) bool {
		_, ok := errors.AsType[*lease.TakenError](err)
		return ok
	}
	require.Eventually(t, func() bool { return taken(r.Err()) }, guard, tick)
	require.True(t, taken(r.Update(guarded(t), conclavegrpc.Endpoint{Addr: "after:1"})))
	_, err = client.Revoke(guarded(t), killed.ID) // as if it had expired
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.Err() == nil }, guard, tick)
	resp, err := client.Get(guarded(t), name+"/a")
	require.NoError(t, err)
	require.Contains(t, string(resp.Kvs[0].Value), "after:1", "the update counts")
	require.Equal(t, 1, strings.Count(log.String(), "conclavegrpc: address could not be registered; trying again"), log)
	require.Contains(t, log.String(), "level=WARN")

	s.health.SetServingStatus("", healthgrpc.HealthCheckResponse_NOT_SERVING)
	require.Eventually(t, func() bool { return errors.Is(r.Err(), conclavegrpc.ErrNotServing) }, guard, tick)
	require.NoError(t, r.Update(guarded(t), conclavegrpc.Endpoint{Addr: "later:1"}))
}

func TestTheLastOfManyUpdatesCounts(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	var writes atomic.Int64
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Logger: zap.NewNop(), DialOptions: []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := invoke(ctx, method, req, reply, cc, opts...)
			if strings.HasSuffix(method, "/Txn") {
				writes.Add(1)
			}
			return err
		}),
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	s, name, reader := newServer(t), service(t, c), c.Client(t)
	r := register(t, newSession(t, client), name, "a", s.addr, conclavegrpc.WithHealth(s.health, ""))
	defer func() { require.NoError(t, r.Close(guarded(t))) }()
	for round := range 100 {
		s.health.SetServingStatus("", healthgrpc.HealthCheckResponse_NOT_SERVING)
		require.Eventually(t, func() bool { return errors.Is(r.Err(), conclavegrpc.ErrNotServing) && count(t, reader, name) == 0 }, guard, time.Millisecond)
		before := writes.Load()
		s.health.SetServingStatus("", healthgrpc.HealthCheckResponse_SERVING)
		addr, ctx := "", guarded(t)
		for i := 0; i == 0 || writes.Load() < before+2; i++ { // until one was put that is newer than what was registered
			addr = fmt.Sprintf("%d:%d", round, i)
			require.NoError(t, r.Update(ctx, conclavegrpc.Endpoint{Addr: addr}))
			<-time.After(10 * time.Microsecond) // what registers needs a processor, too
		}
		require.Eventually(t, func() bool { return r.Err() == nil }, guard, time.Millisecond)
		resp, err := reader.Get(guarded(t), name+"/a")
		require.NoError(t, err)
		require.Contains(t, string(resp.Kvs[0].Value), `"`+addr+`"`)
	}
}

func TestAnUpdateCountsThoughTheOneBeforeWasRefused(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	writes, answers := make(chan struct{}), make(chan error)
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), Logger: zap.NewNop(), DialOptions: []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if strings.HasSuffix(method, "/Txn") {
				select {
				case writes <- struct{}{}:
					if err := <-answers; err != nil {
						return err
					}
				case <-t.Context().Done():
				}
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		}),
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	s, name, reader := newServer(t), service(t, c), c.Client(t)
	r := register(t, newSession(t, client), name, "a", s.addr, conclavegrpc.WithHealth(s.health, ""))
	s.health.SetServingStatus("", healthgrpc.HealthCheckResponse_SERVING)
	for i, answer := range []error{nil, status.Error(codes.InvalidArgument, "etcdserver: request is too large")} { // the registration, and the first update
		<-writes
		require.NoError(t, r.Update(guarded(t), conclavegrpc.Endpoint{Addr: fmt.Sprintf("update:%d", i)}))
		answers <- answer
	}
	go func() { // ends with the test
		for {
			select {
			case <-writes:
				answers <- nil
			case <-t.Context().Done():
				return
			}
		}
	}()
	require.Eventually(t, func() bool {
		resp, err := reader.Get(guarded(t), name+"/a")
		return err == nil && len(resp.Kvs) == 1 && strings.Contains(string(resp.Kvs[0].Value), `"update:1"`)
	}, guard, tick)
	require.Eventually(t, func() bool { return r.Err() == nil }, guard, tick)
	require.NoError(t, r.Close(guarded(t)))
}

// count is how many keys a service has.
func count(t *testing.T, client *clientv3.Client, service string) int64 {
	t.Helper()
	resp, err := client.Get(guarded(t), service+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(t, err)
	return resp.Count
}

func TestADrainDoesNotWaitForAnEtcdThatIsDown(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client, name := c.Client(t, etcdtest.WithFastReconnect()), service(t, c)
	s := newServer(t)
	session, err := lease.NewSession(guarded(t), client, lease.WithTTL(5*time.Minute), lease.WithGrace(guard/2))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, session.Close(guarded(t))) })
	r := register(t, session, name, "a", s.addr, conclavegrpc.WithDrainGrace(0))
	require.NoError(t, c.Stop(guarded(t), 0))
	ctx, start := guarded(t), time.Now()
	require.ErrorContains(t, r.Drain(ctx, s.Server), name+"/a")
	require.NoError(t, ctx.Err(), "it has not waited for that")
	require.Less(t, time.Since(start), guard/2, "nor for the session's grace")

	require.NoError(t, c.Restart(guarded(t), 0))
	require.NoError(t, r.Close(guarded(t)))
	resp, err := c.Client(t).Get(guarded(t), name+"/a")
	require.NoError(t, err)
	require.Zero(t, resp.Count, "Close says so when it is removed")
}

// stopper tells of its stop and does nothing.
type stopper func()

func (s stopper) GracefulStop() { s() }
func (stopper) Stop()           {}

func TestADrainStopsTheServerAfterItsAddressWasRemoved(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	rec, name := &etcdtest.Recorder{}, service(t, c)
	session := newSession(t, c.Client(t, etcdtest.WithRecorder(rec)))
	// The removal takes its time, unless the server is stopped. It has to be confirmed within a
	// second, which a busy machine may take.
	first := ""
	for i := 0; first != "removed" && i < 10; i++ {
		r := register(t, session, name, fmt.Sprint(i), "a:1", conclavegrpc.WithDrainGrace(0))
		events, stopped := make(chan string, 10), make(chan struct{})
		unhook := rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
			select {
			case <-stopped:
			case <-time.After(50 * time.Millisecond):
			}
			err := invoke()
			events <- "removed"
			return err
		})
		_ = r.Drain(guarded(t), stopper(func() {
			events <- "stopped"
			close(stopped)
		}))
		unhook()
		require.NoError(t, r.Close(guarded(t)))
		first = <-events
	}
	require.Equal(t, "removed", first)
}

func TestARegistrationThatIsClosedWhileItIsPutIsRemoved(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	rec, name, s := &etcdtest.Recorder{}, service(t, c), newServer(t)
	session, err := lease.NewSession(guarded(t), c.Client(t, etcdtest.WithRecorder(rec)), lease.WithGrace(time.Millisecond), lease.WithTTL(lease.MaxTTL))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, session.Close(guarded(t))) })
	reader := c.Client(t)
	for _, health := range []bool{true, false} {
		var once sync.Once
		ctx, cancel := context.WithCancel(guarded(t))
		put, over := make(chan struct{}), make(chan struct{})
		unhook := rec.Hook("Txn", func(ctx context.Context, _ any, invoke func() error) error {
			once.Do(func() { // it is put, and what comes then does not get through
				_ = invoke()
				close(put)
			})
			select {
			case <-over: // or it would be under way for a share of the TTL
				return status.Error(codes.Unavailable, "over")
			case <-ctx.Done():
				return etcdtest.Vanished(ctx)
			}
		})
		var r *conclavegrpc.Registration
		if health {
			s.health.SetServingStatus("", healthgrpc.HealthCheckResponse_SERVING)
			r = register(t, session, name, "a", s.addr, conclavegrpc.WithHealth(s.health, ""))
			<-put
		} else {
			go func() { <-put; cancel() }() // ends with the put
			r, err = conclavegrpc.Register(ctx, session, name, "a", conclavegrpc.Endpoint{Addr: s.addr})
			require.ErrorIs(t, err, context.Canceled)
		}
		cancel()
		err = r.Close(ctx)
		require.ErrorIs(t, err, context.Canceled, "%v", health)
		require.ErrorContains(t, err, name+"/a")
		require.EqualValues(t, 1, count(t, reader, name))
		unhook()
		close(over)
		require.NoError(t, r.Close(guarded(t)))
		require.Zero(t, count(t, reader, name))
	}
}

func TestAServerThatWasReplacedDoesNotTakeItsKeyBackWhenItServesAgain(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, reader, s := service(t, c), c.Client(t), newServer(t)
	serves := func(status healthgrpc.HealthCheckResponse_ServingStatus) { s.health.SetServingStatus("", status) }
	options := []conclavegrpc.RegisterOption{conclavegrpc.WithTakeover(), conclavegrpc.WithHealth(s.health, "")}
	// It does not look at its key by itself before it is told that it does not serve.
	session, err := lease.NewSession(guarded(t), c.Client(t), lease.WithTTL(lease.MaxTTL))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, session.Close(guarded(t))) })
	r := register(t, session, name, "a", "old:1", options...)
	defer func() { require.NoError(t, r.Close(guarded(t))) }()
	serves(healthgrpc.HealthCheckResponse_SERVING)
	require.Eventually(t, func() bool { return r.Err() == nil }, guard, tick)

	replaces := register(t, newSession(t, c.Client(t)), name, "a", "new:1", conclavegrpc.WithTakeover())
	serves(healthgrpc.HealthCheckResponse_NOT_SERVING)
	require.Eventually(t, func() bool { return errors.Is(r.Err(), conclavegrpc.ErrNotServing) }, guard, tick)
	serves(healthgrpc.HealthCheckResponse_SERVING)
	require.Eventually(t, func() bool { return !errors.Is(r.Err(), conclavegrpc.ErrNotServing) }, guard, tick)
	_, taken := errors.AsType[*lease.TakenError](r.Err())
	require.True(t, taken, r.Err())
	resp, err := reader.Get(guarded(t), name+"/a")
	require.NoError(t, err)
	require.Contains(t, string(resp.Kvs[0].Value), "new:1")

	require.NoError(t, replaces.Close(guarded(t)))
	require.Eventually(t, func() bool { return r.Err() == nil }, guard, tick, "a key that is gone is free")
}
