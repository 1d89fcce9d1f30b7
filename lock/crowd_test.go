package lock_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// crowdSize is how many wait at once: CONCLAVE_CROWD=10000 for as many as documented. By
// default they are several times as many as have a request out, and no more than a busy
// machine serves under the race detector.
func crowdSize(t *testing.T) int {
	t.Helper()
	if v := os.Getenv("CONCLAVE_CROWD"); v != "" {
		n, err := strconv.Atoi(v)
		require.NoError(t, err)
		return n
	}
	return 200
}

// most notes the most of different keys that there were at a time: a request that goes out
// a second time beside the first, because that has no answer yet, counts once.
type most struct {
	mu  sync.Mutex
	now map[string]int
	n   int
}

func (m *most) top() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n
}

func (m *most) enter(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now[key]++
	m.n = max(m.n, len(m.now))
}

func (m *most) leave(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now[key]--; m.now[key] == 0 {
		delete(m.now, key)
	}
}

// lines is where a log goes.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// keysOfALease is how many entries share a lease: what happens to one is logged for all of them.
const keysOfALease = 256

// A process's own crowd must not keep the holder's renewals waiting.
func TestACrowdOfWaitersLeavesTheHolderItsLockAndIsGrantedOneByOne(t *testing.T) {
	c, n := etcdtest.New(t), crowdSize(t)
	name := c.Prefix(t) + "m"
	rec := &etcdtest.Recorder{Forget: true}
	joining := most{now: make(map[string]int)}
	rec.Hook("Txn", func(_ context.Context, req any, invoke func() error) error {
		if !putsSomething(asTxn(req)) {
			return invoke()
		}
		key := string(asTxn(req).Compare[0].Key)
		joining.enter(key)
		defer joining.leave(key)
		return invoke()
	})
	var log lines
	client := c.Client(t, etcdtest.WithRecorder(rec))
	session, err := lease.NewSession(guarded(t), client, lease.WithTTL(10*time.Second),
		lease.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	require.NoError(t, err)
	defer func() { require.NoError(t, session.Close(context.WithoutCancel(t.Context()))) }()
	m, err := lock.NewMutex(session, name)
	require.NoError(t, err)
	h, err := m.Lock(guarded(t))
	require.NoError(t, err)

	began := time.Now()
	var all sync.WaitGroup
	var inside, served atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+n/50)*peertest.Guard)
	defer cancel()
	for range n {
		all.Go(func() {
			h, err := m.Lock(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			if inside.Add(1) != 1 {
				t.Error("two inside")
			}
			inside.Add(-1)
			served.Add(1)
			if err := h.Unlock(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	pause := time.NewTicker(20 * time.Millisecond) // counting is work for the server
	defer pause.Stop()
	for queued := 0; queued <= n && ctx.Err() == nil; <-pause.C {
		resp, err := client.Get(ctx, name+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		require.NoError(t, err)
		queued = int(resp.Count)
		require.NoError(t, h.Err(), "with %d in the queue, after %v", queued, time.Since(began))
	}
	joined := time.Since(began)
	require.NoError(t, h.Err(), "the holder is as it was")
	unlock(t, h)
	all.Wait()
	t.Logf("%d waiters in the queue after %v, all granted after %v more, at most %d requests at a time, %d log lines",
		n, joined, time.Since(began)-joined, joining.top(), strings.Count(log.String(), "\n"))
	require.EqualValues(t, n, served.Load())
	require.LessOrEqual(t, joining.top(), 32+2)
	require.Less(t, strings.Count(log.String(), "\n"), 50+3*n/keysOfALease, log.String())
}

// Whoever waits for its turn in the process minds its context.
func TestACallerWhoseContextEndsLeavesTheCrowd(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	p, name := newPeer(t, c, withTTL(calm)), c.Prefix(t)+"m"
	var held atomic.Int64
	hold := make(chan struct{})
	p.Rec.Hook("Txn", func(ctx context.Context, req any, invoke func() error) error {
		held.Add(1)
		select {
		case <-hold:
			return invoke()
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	first, stop := context.WithCancel(guarded(t))
	defer stop()
	var crowd sync.WaitGroup
	for range 100 {
		crowd.Go(func() {
			h, err := p.mutex(t, name).Lock(first)
			if err == nil {
				_ = h.Unlock(guarded(t))
			}
		})
	}
	eventually(t, func() bool { return held.Load() >= 32 }, "all there is room for")
	late, cancel := context.WithCancel(guarded(t))
	done := p.lockSoon(late, t, name)
	cancel()
	require.ErrorIs(t, await(t, done, "Lock returns").err, context.Canceled)
	require.LessOrEqual(t, held.Load(), int64(32))
	stop()
	close(hold)
	crowd.Wait()
}
