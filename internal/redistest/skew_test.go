package redistest_test

import (
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
)

func TestAClockThatIsMovedExpiresKeysEarlyOrLate(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skipf("SKIPPED %s: %v", t.Name(), err)
	}
	library, err := redistest.CompileClock(t.Context(), t.TempDir())
	require.NoError(t, err)
	node := redistest.New(t, 1, redistest.WithClockLibrary(library)).Node(0)
	now := func() time.Time {
		at, err := node.Admin().Time(t.Context()).Result()
		require.NoError(t, err)
		return at
	}
	require.NoError(t, node.Admin().Set(t.Context(), "k", "v", 30*time.Second).Err())
	for _, d := range []time.Duration{-time.Minute, 0, -1500 * time.Millisecond} {
		require.NoError(t, node.SkewClock(d))
		require.WithinDuration(t, time.Now().Add(d), now(), 20*time.Second)
		require.Equal(t, int64(1), node.Admin().Exists(t.Context(), "k").Val())
	}
	require.NoError(t, node.SkewClock(time.Minute))
	require.WithinDuration(t, time.Now().Add(time.Minute), now(), 20*time.Second)
	require.Zero(t, node.Admin().Exists(t.Context(), "k").Val())
	require.NoError(t, node.Revive(t.Context()))
	require.WithinDuration(t, time.Now().Add(time.Minute), now(), 20*time.Second, "still wrong")
}

func TestAClockWithoutLibraryIsNotMoved(t *testing.T) {
	t.Parallel()
	require.ErrorIs(t, redistest.New(t, 1).Node(0).SkewClock(time.Minute), redistest.ErrNoSkew)
	embedded := redistest.NewEmbedded(t, 1).Node(0)
	require.NoError(t, embedded.Admin().Set(t.Context(), "k", "v", 30*time.Second).Err())
	require.NoError(t, embedded.SkewClock(time.Minute))
	require.Zero(t, embedded.Admin().Exists(t.Context(), "k").Val())
}

func TestFaultsNeedNoTest(t *testing.T) {
	t.Parallel()
	node := redistest.New(t, 1).Node(0)
	require.NoError(t, node.Admin().Set(t.Context(), "k", "v", 0).Err())
	require.NoError(t, node.Suspend())
	require.NoError(t, node.Resume())
	require.Equal(t, int64(1), node.Admin().Exists(t.Context(), "k").Val())
	require.NoError(t, node.Crash())
	require.Error(t, node.Admin().Ping(t.Context()).Err())
	require.NoError(t, node.Revive(t.Context()))
	require.Zero(t, node.Admin().Exists(t.Context(), "k").Val())
	require.Error(t, redistest.NewEmbedded(t, 1).Node(0).Suspend())
}

func TestANodeComesBackWhenItsPortIsFreeAgain(t *testing.T) {
	t.Parallel()
	node := redistest.New(t, 1).Node(0)
	require.NoError(t, node.Crash())
	thief, err := net.Listen("tcp", node.Addr())
	require.NoError(t, err)
	revived := make(chan error, 1)
	go func() { revived <- node.Revive(t.Context()) }()
	select {
	case err := <-revived:
		require.Fail(t, "its port is taken", "%v", err)
	case <-time.After(200 * time.Millisecond): // it has tried
	}
	require.NoError(t, thief.Close())
	require.NoError(t, <-revived)
	require.NoError(t, node.Admin().Ping(t.Context()).Err())
}
