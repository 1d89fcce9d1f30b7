package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/compare/capacity"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/servers"
)

func TestMain(m *testing.M) {
	process.Main(map[string]process.Role{servers.MemberRole: servers.Member})
	goleak.VerifyTestMain(m)
}

func TestTheCommandLineIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"must be at least 1":            {"-max-holds", "0"},
		"there are no arguments":        {"hold"},
		"missing closing )":             {"-only", "("},
		"not defined: -max-everything":  {"-max-everything", "1"},
		"no such file":                  {"-from", filepath.Join(t.TempDir(), "none.csv")},
		"max-sessions\" for flag -ttl:": {"-ttl", "max-sessions"},
	} {
		err := run(t.Context(), args, io.Discard, io.Discard)
		require.ErrorContains(t, err, want)
	}
}

func TestQuickChangesTheDefaultsAndNotWhatIsGiven(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-quick", "-max-holds", "7", "-fsync=false"}, io.Discard)
	require.NoError(t, err)
	want := capacity.Quick(io.Discard)
	want.Holds, want.Fsync = 7, false
	require.Equal(t, want, o.cfg)
	o, err = parse([]string{"-max-holds", "7"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, capacity.Full(io.Discard).Sessions, o.cfg.Sessions)
}

func TestEveryPartIsListed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-list"}, &out, io.Discard))
	require.Contains(t, out.String(), "hold\n")
	require.Contains(t, out.String(), "knee of renewal\n")
}

func TestFiguresStayWhileOthersAreMeasuredAgain(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "capacity.csv")
	const header = "group,name,n,quantity,unit,value\n"
	require.NoError(t, os.WriteFile(file, []byte(header+"load,hold,10,client memory,B,30000\n"), 0o600))

	var out bytes.Buffer
	args := []string{"-quick", "-only", "knee of lock", "-max-workers", "2", "-fsync=false", "-markdown", "-out", folder}
	require.NoError(t, run(t.Context(), args, &out, io.Discard))
	require.Contains(t, out.String(), "knee of lock and unlock")
	figures, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(figures), "load,hold,10,client memory,B,30000\n")
	require.Contains(t, string(figures), "stair,lock and unlock,2,throughput,1/s,")
	require.FileExists(t, filepath.Join(folder, "capacity-throughput.svg"))

	again := new(bytes.Buffer)
	require.NoError(t, run(t.Context(), []string{"-markdown", "-from", file}, again, io.Discard))
	require.Equal(t, out.String(), again.String(), "the same figures")
}
