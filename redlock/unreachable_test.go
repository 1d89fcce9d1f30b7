package redlock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// Calls that have no answer must not leave others without the room to begin.
func TestCallsFailInTimeThoughThoseBeforeStillWaitForAConnection(t *testing.T) {
	t.Parallel()
	inBubble(t, 1, func(t *testing.T, v *redistest.Virtual) {
		m, err := redlock.NewMutex(pooled(t, v, 1, 4), name)
		require.NoError(t, err)
		t.Cleanup(v.Wire(0).Heal)
		v.Wire(0).Cut()
		done := make(chan error)
		start := time.Now()
		for range 3 { // as many as the connections allow
			go func() { _, err := m.TryLock(t.Context()); done <- err }()
		}
		for range 3 {
			require.Error(t, <-done)
		}
		require.LessOrEqual(t, time.Since(start), 3*timeout)
		<-time.After(time.Second - time.Since(start))
		start = time.Now()
		_, err = m.TryLock(t.Context())
		require.Error(t, err)
		require.LessOrEqual(t, time.Since(start), 3*timeout)
	})
}

func TestCallsOfAMutexWithAShortTTLFailInTimeThoughThoseBeforeStillWait(t *testing.T) {
	t.Parallel()
	inBubble(t, 1, func(t *testing.T, v *redistest.Virtual) {
		nodes := pooled(t, v, 1, 4)
		t.Cleanup(v.Wire(0).Heal)
		tryAll(t, nodes, 20)
		synctest.Wait()
		const short = time.Second
		m, err := redlock.NewMutex(nodes, name, redlock.WithTTL(short))
		require.NoError(t, err)
		v.Wire(0).Cut()
		done := make(chan error)
		start := time.Now()
		for range 3 {
			go func() { _, err := m.TryLock(t.Context()); done <- err }()
		}
		for range 3 {
			require.Error(t, <-done)
		}
		require.LessOrEqual(t, time.Since(start), short/10)
		<-time.After(timeout - time.Since(start)) // others would wait so long
		synctest.Wait()
		start = time.Now()
		_, err = m.TryLock(t.Context())
		require.Error(t, err)
		require.LessOrEqual(t, time.Since(start), short/10)
	})
}
