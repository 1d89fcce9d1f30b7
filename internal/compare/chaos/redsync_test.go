//go:build chaos

package chaos_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/chaos"
	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/chaos/worker"
)

// kindRedsync is the worker's name for a lock of redsync.
const kindRedsync = "redsync"

// chaosPeers makes it.
func chaosPeers() worker.Peers {
	return worker.Peers{kindRedsync: func(clients []redis.UniversalClient, j worker.Job) (worker.Locker, error) {
		var pools []redsyncredis.Pool
		for _, c := range clients {
			pools = append(pools, goredis.NewPool(c))
		}
		return &redsyncLocker{rs: redsync.New(pools...), job: j}, nil
	}}
}

// redsyncLocker is redsync, whose holds are extended every third of their expiry.
type redsyncLocker struct {
	rs  *redsync.Redsync
	job worker.Job
}

func (l *redsyncLocker) Lock(ctx context.Context) (worker.Hold, error) {
	const tries, retryDelay = 1 << 20, 20 * time.Millisecond
	m := l.rs.NewMutex(l.job.Lock, redsync.WithExpiry(l.job.TTL), redsync.WithTries(tries), redsync.WithRetryDelay(retryDelay))
	if err := m.LockContext(ctx); err != nil {
		return nil, err
	}
	h := &redsyncHold{mutex: m, until: m.Until(), done: make(chan struct{}), stop: make(chan struct{})}
	h.keeping.Go(func() { h.keep(l.job.TTL / 3) })
	return h, nil
}

func (l *redsyncLocker) Close(context.Context) error { return nil }

type redsyncHold struct {
	mutex   *redsync.Mutex
	done    chan struct{}
	stop    chan struct{}
	keeping sync.WaitGroup

	mu    sync.Mutex
	until time.Time
}

// errOver is the end of a hold.
var errOver = errors.New("the hold is over")

// keep extends the lock until it is given up, or that fails.
func (h *redsyncHold) keep(every time.Duration) {
	defer close(h.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		left, _ := h.Remaining()
		select {
		case <-h.stop:
			return
		case <-time.After(min(every, left)):
		}
		if left, _ := h.Remaining(); left <= 0 {
			return
		}
		if ok, err := h.mutex.ExtendContext(ctx); !ok || err != nil {
			return
		}
		h.mu.Lock()
		h.until = h.mutex.Until()
		h.mu.Unlock()
	}
}

func (h *redsyncHold) Token() int64          { return 0 }
func (h *redsyncHold) Key() string           { return "" }
func (h *redsyncHold) Done() <-chan struct{} { return h.done }
func (h *redsyncHold) Phantom() bool         { return false }

func (h *redsyncHold) Err() error {
	select {
	case <-h.done:
		return errOver
	default:
	}
	if left, _ := h.Remaining(); left <= 0 {
		return errOver
	}
	return nil
}

func (h *redsyncHold) Remaining() (time.Duration, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Until(h.until), true
}

func (h *redsyncHold) Unlock(ctx context.Context) error {
	close(h.stop)
	h.keeping.Wait()
	_, err := h.mutex.UnlockContext(ctx)
	return err
}

// TestRedsyncUnderTheFaultsOfTheLab is a control: it breaks where Redlock does.
func TestRedsyncUnderTheFaultsOfTheLab(t *testing.T) {
	if os.Getenv("CONCLAVE_CHAOS") == "" {
		t.Skipf("SKIPPED %s: it takes minutes; CONCLAVE_CHAOS=1 plays it", t.Name())
	}
	const ttl, rounds = 2 * time.Second, 4
	wanted := map[string]bool{"cut": true, "pause-between": true, "redis-minority": true, "redis-clock": true, "redis-restart": true}
	s := chaos.NewSchedule(1, ttl, rounds, func(scenario, system string) bool { return wanted[scenario] && system == "redlock" })
	s.Peers = []chaos.System{{Name: kindRedsync, Meaning: "redsync on five nodes", Kind: kindRedsync, Nodes: 5, Control: true}}
	for i := range s.Entries {
		s.Entries[i].Systems = append(s.Entries[i].Systems, kindRedsync)
	}
	r, err := chaos.Run(t.Context(), chaos.Config{Schedule: s, Parallel: len(s.Entries)})
	t.Log("\n" + r.Text())
	require.NoError(t, err)
	require.NoError(t, r.Failed())
	broken := make(map[string]bool)
	for _, c := range r.Cells {
		if c.System == kindRedsync && c.Result.Broken(history.S3) {
			broken[c.Scenario] = true
		}
	}
	require.True(t, broken["redis-clock"], "two hold it when clocks jump")
	require.True(t, broken["redis-restart"], "and when nodes restart without their keys")
}
