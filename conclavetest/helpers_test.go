package conclavetest_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// guard is how long a test waits for what must happen; only a failure takes that long.
const guard = 4 * time.Minute

// calm is a TTL with which no renewal falls into a test in real time.
const calm = lease.MaxTTL

// unhurried is a TTL whose renewals a test in real time can wait for, and which a busy
// machine does not lose.
const unhurried = 6 * time.Second

// guarded is the test's context with a limit.
func guarded(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), guard)
	tb.Cleanup(cancel)
	return ctx
}

// await receives from ch.
func await[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(guard):
		require.FailNow(t, "never happened", what)
		panic("unreachable")
	}
}

// onBoth runs a test on a cluster in real and one in virtual time.
func onBoth(t *testing.T, test func(t *testing.T, c *conclavetest.Cluster)) {
	t.Helper()
	t.Parallel()
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		test(t, conclavetest.NewCluster(t))
	})
	t.Run("virtual", func(t *testing.T) {
		t.Parallel()
		conclavetest.VirtualCluster(t, test)
	})
}

// isVirtual reports whether the test runs in a bubble, whose time begins in 2000.
func isVirtual() bool { return time.Now().Year() < 2020 }

// failingTB is a test that may fail.
type failingTB struct {
	testing.TB

	message string
}

func (f *failingTB) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (f *failingTB) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }

// failure returns the message with which fn fails its test.
func failure(t *testing.T, fn func(tb testing.TB)) string {
	t.Helper()
	f := &failingTB{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(f)
	}()
	<-done
	require.NotEmpty(t, f.message, "the test does not fail")
	return f.message
}

// newSession returns a session that is closed at the test's end.
func newSession(t *testing.T, client *clientv3.Client, ttl time.Duration, opts ...lease.Option) *lease.Session {
	t.Helper()
	s, err := lease.NewSession(guarded(t), client, append(opts, lease.WithTTL(ttl))...)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		defer cancel()
		require.NoError(t, s.Close(ctx))
	})
	return s
}

func newMutex(t *testing.T, s *lease.Session, name string) *lock.Mutex {
	t.Helper()
	m, err := lock.NewMutex(s, name, lock.WithOwner("someone"))
	require.NoError(t, err)
	return m
}

// lockNow locks name, which is free.
func lockNow(t *testing.T, s *lease.Session, name string) *lock.Hold {
	t.Helper()
	h, err := newMutex(t, s, name).Lock(guarded(t))
	require.NoError(t, err)
	return h
}

// lockSoon calls Lock of "job" in the background, for as long as the test.
func lockSoon(t *testing.T, s *lease.Session) <-chan *lock.Hold {
	t.Helper()
	m := newMutex(t, s, "job")
	ctx, cancel := context.WithCancel(t.Context())
	holds, done := make(chan *lock.Hold, 1), make(chan struct{})
	go func() {
		defer close(done)
		if h, err := m.Lock(ctx); err == nil {
			holds <- h
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return holds
}

func put(t *testing.T, client *clientv3.Client, key string) {
	t.Helper()
	_, err := etcdtest.Put(guarded(t), client, key, "value")
	require.NoError(t, err)
}

func exists(t *testing.T, client *clientv3.Client, key string) bool {
	t.Helper()
	resp, err := client.Get(guarded(t), key)
	require.NoError(t, err)
	return resp.Count == 1
}

// watch returns the responses of a watch on key that exists when it returns.
func watch(t *testing.T, client *clientv3.Client, key string) clientv3.WatchChan {
	t.Helper()
	w := client.Watch(t.Context(), key, clientv3.WithCreatedNotify())
	created := await(t, w, "the watch exists")
	require.NoError(t, created.Err())
	return w
}

// keys returns the keys of the events in the next response.
func keys(t *testing.T, w clientv3.WatchChan) (all []string) {
	t.Helper()
	resp := await(t, w, "an event")
	require.NoError(t, resp.Err())
	for _, e := range resp.Events {
		all = append(all, string(e.Kv.Key))
	}
	return all
}
