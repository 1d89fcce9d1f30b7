package lock_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

func TestLocalHandoffKeepsTokensIncreasingOverManyGoroutines(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	a, b, name := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	ctx := guarded(t)
	var fence lock.Fence
	var inside sync.Mutex
	var wg sync.WaitGroup
	for _, p := range []*peer{a, b} {
		m := p.mutex(t, name, lock.WithLocalHandoff(10))
		for range 16 {
			wg.Go(func() {
				for range 50 {
					if !assertNoError(t, m.Do(ctx, func(_ context.Context, h *lock.Hold) error {
						if !inside.TryLock() {
							t.Error("two are inside")
							return nil
						}
						defer inside.Unlock()
						return fence.Check(h.Token())
					})) {
						return
					}
				}
			})
		}
	}
	wg.Wait()
	awaitQueue(t, a.client, name, 0)
}

func TestLingeringLockIsGivenUpWhenAnotherProcessQueues(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	a, b, name := newPeer(t, c, withTTL(calm)), newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	m := a.mutex(t, name, lock.WithLinger(lock.MaxLinger))
	h, err := m.Lock(guarded(t))
	require.NoError(t, err)
	first := h.Token()
	require.NoError(t, h.Unlock(guarded(t)))
	require.Len(t, queueOf(t, b.client, name), 1, "it lingers")
	a.rec.Reset()
	h, err = m.Lock(guarded(t))
	require.NoError(t, err)
	require.Greater(t, h.Token(), first)
	require.Equal(t, first.Revision(), h.Token().Revision())
	require.NoError(t, h.Unlock(guarded(t)))
	unlock(t, b.lock(t, name))
	awaitQueue(t, b.client, name, 0)
}

func BenchmarkLocal(b *testing.B) {
	c := etcdtest.New(b, etcdtest.WithControl())
	s := benchSession(b, c)
	for _, linger := range []bool{false, true} {
		name := "handoff"
		opts := []lock.Option{lock.WithLocalHandoff(1000)}
		if linger {
			name = "linger"
			opts = append(opts, lock.WithLinger(time.Minute))
		}
		b.Run(name, func(b *testing.B) {
			m, err := lock.NewMutex(s, name, opts...)
			require.NoError(b, err)
			b.ReportAllocs()
			n := 64
			if linger {
				n = 1
			}
			b.SetParallelism(n)
			if linger {
				for range b.N {
					h, err := m.Lock(b.Context())
					require.NoError(b, err)
					require.NoError(b, h.Unlock(b.Context()))
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					h, err := m.Lock(b.Context())
					require.NoError(b, err)
					require.NoError(b, h.Unlock(b.Context()))
				}
			})
		})
	}
}

func benchSession(tb testing.TB, c *etcdtest.Cluster) *lease.Session {
	tb.Helper()
	s, err := lease.NewSession(tb.Context(), c.Client(tb))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close(context.Background())) })
	return s
}

func assertNoError(t *testing.T, err error) bool {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	return err == nil
}
