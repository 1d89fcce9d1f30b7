package tempdir_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/proctest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/tempdir"
)

func TestMain(m *testing.M) {
	proctest.Play(proctest.Roles{"user": use})
	goleak.VerifyTestMain(suite.Of(m))
}

// use makes a directory in another, with a file in it.
func use(ctx context.Context, line *proctest.Line, args []string) error {
	dir, err := tempdir.MakeIn(args[0], "child")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir.Path(), "data"), make([]byte, 1000), 0o600); err != nil {
		return err
	}
	line.Say(dir.Path())
	select {
	case <-ctx.Done():
	case <-line.Told():
	}
	return dir.Remove()
}

func TestADirectoryIsThereUntilItIsRemoved(t *testing.T) {
	t.Parallel()
	dir, err := tempdir.Make("purpose")
	require.NoError(t, err)
	require.Equal(t, filepath.Clean(os.TempDir()), filepath.Dir(dir.Path()))
	require.Contains(t, filepath.Base(dir.Path()), "purpose")
	require.NoError(t, os.WriteFile(filepath.Join(dir.Path(), "data"), nil, 0o600))
	require.NoError(t, dir.Remove())
	require.NoDirExists(t, dir.Path())
	require.NoError(t, dir.Remove(), "again")
}

func TestWhatAKilledProcessLeavesGoesWithTheNextWhileThoseInUseStay(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no locks here")
	}
	parent := t.TempDir()
	stranger := filepath.Join(parent, "conclave")
	require.NoError(t, os.Mkdir(stranger, 0o700))
	killed, alive := proctest.Start(t, "user", parent), proctest.Start(t, "user", parent)
	left, used := killed.Says(t, parent), alive.Says(t, parent)
	killed.Kill(t)
	require.DirExists(t, left)

	next := proctest.Start(t, "user", parent)
	own := next.Says(t, parent)
	require.NoDirExists(t, left)
	require.DirExists(t, used)
	require.DirExists(t, own)
	require.DirExists(t, stranger)
}

// Were a directory swept between its making and its lock, one of these would fail to write.
func TestProcessesThatMakeAndSweepAtTheSameTimeKeepTheirs(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range suite.Long(40, 100) {
				tempdir.Sweep(parent)
				dir, err := tempdir.MakeIn(parent, "race")
				if !assertNoError(t, err) {
					return
				}
				_ = assertNoError(t, os.WriteFile(filepath.Join(dir.Path(), "data"), nil, 0o600))
				_ = assertNoError(t, dir.Remove())
			}
		})
	}
	wg.Wait()
	entries, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func assertNoError(t *testing.T, err error) bool {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	return err == nil
}
