package lease_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// soakVariable says for how long the soak goes on; without it there is none. `make soak`
// sets it.
const soakVariable = "CONCLAVE_SOAK"

const (
	soakCallers = 24
	soakNames   = 8
	// soakMost is the longest time that a call of Lock has.
	soakMost = 40 * time.Millisecond
	// soakReports is how many figures are printed in all, but for the last.
	soakReports = 20
	// heapNoise is by how much the heap differs from one figure to another.
	heapNoise = 20 << 20
	// soakRevoke is after how many figures the session's lease is revoked each time.
	soakRevoke = 3
)

// figures are what a session costs.
type figures struct {
	goroutines, leases, keys int
	heap                     uint64
}

func (f figures) String() string {
	return fmt.Sprintf("%5d goroutines, %4d MiB of heap, %3d leases, %4d keys", f.goroutines, f.heap>>20, f.leases, f.keys)
}

// soakFigures compacts what was old when it was last called, so that the server in this process
// does not grow with its history.
func soakFigures(t *testing.T, op operator, prefix string, old int64) (figures, int64) {
	t.Helper()
	if _, err := op.Compact(guarded(t), old); !errors.Is(err, rpctypes.ErrCompacted) {
		require.NoError(t, err)
	}
	leases, err := op.Leases(guarded(t))
	require.NoError(t, err)
	keys, err := op.Get(guarded(t), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(t, err)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return figures{runtime.NumGoroutine(), len(leases.Leases), int(keys.Count), m.HeapAlloc}, keys.Header.Revision
}

// Calls that give up at any moment, and leases that are lost now and then: what they leave
// behind goes away, however long that lasts.
func TestASessionDoesNotGrowInASoak(t *testing.T) {
	lasts, err := time.ParseDuration(os.Getenv(soakVariable))
	if err != nil {
		t.Skip("not asked for: set " + soakVariable + " to a duration, or run make soak")
	}
	c := etcdtest.New(t, etcdtest.WithControl())
	op, prefix := newOperator(t, c), c.Prefix(t)
	s := newSession(t, c.Client(t))
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for i := range soakCallers {
		callers.Go(func() { soak(s, prefix, uint64(i), stop) })
	}
	var all []figures
	revision := int64(1)
	for i := range soakReports {
		select {
		case <-time.After(lasts / soakReports):
		case <-t.Context().Done():
		}
		var f figures
		f, revision = soakFigures(t, op, prefix, revision)
		all = append(all, f)
		t.Log(f)
		if i%soakRevoke == soakRevoke-1 {
			op.revoke(t, liveLease(t, s).ID())
		}
	}
	close(stop)
	callers.Wait()
	eventually(t, func() bool {
		var f figures
		f, revision = soakFigures(t, op, prefix, revision)
		return f.leases == 1 && f.keys == 0
	}, "one lease and no key is left")
	f, _ := soakFigures(t, op, prefix, revision)
	t.Log(f, "at rest")
	early, late := all[soakReports/4], all[soakReports-1]
	require.LessOrEqual(t, late.goroutines, 2*early.goroutines)
	require.LessOrEqual(t, late.leases, 2*early.leases+3)
	require.LessOrEqual(t, late.heap, 2*early.heap+heapNoise)
}

// soak locks and unlocks until it is stopped.
func soak(s *lease.Session, prefix string, seed uint64, stop <-chan struct{}) {
	draw := rand.New(rand.NewPCG(seed, 1))
	for {
		select {
		case <-stop:
			return
		default:
		}
		m, err := lock.NewMutex(s, fmt.Sprint(prefix, draw.IntN(soakNames)))
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(draw.Int64N(int64(soakMost))))
		if h, err := m.Lock(ctx); err == nil {
			_ = h.Unlock(context.WithoutCancel(ctx)) // lost leases are part of it
		}
		cancel()
	}
}
