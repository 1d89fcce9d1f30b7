//go:build unix

package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// copyOfMain makes a program of program.go.
const copyOfMain = `package main

import (
	"context"
	"os"
)

func main() {
	if err := registryMain(context.Background(), os.Args[1:]); err != nil {
		panic(err)
	}
}
`

func TestACopyOfTheProgramNeedsNothingElseAndDrainsOnSIGTERM(t *testing.T) {
	t.Parallel()
	etcd, dir := etcdtest.New(t, etcdtest.WithControl()), t.TempDir()
	source, err := os.ReadFile("program.go")
	require.NoError(t, err)
	files := []string{filepath.Join(dir, "program.go"), filepath.Join(dir, "main.go")}
	require.NoError(t, os.WriteFile(files[0], source, 0o600))
	require.NoError(t, os.WriteFile(files[1], []byte(copyOfMain), 0o600))
	bin := filepath.Join(dir, "whoami")
	out, err := exec.Command("go", append([]string{"build", "-o", bin}, files...)...).CombinedOutput()
	require.NoError(t, err, string(out))

	start := func(text string, args ...string) (end func() (late bool)) {
		cmd := exec.CommandContext(t.Context(), bin, append([]string{"-endpoints", etcd.Endpoints()[0]}, args...)...)
		log, err := cmd.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewReader(log)
		for line := ""; !strings.Contains(line, text); {
			line, err = lines.ReadString('\n')
			require.NoError(t, err)
		}
		return func() (late bool) {
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			rest, err := io.ReadAll(lines)
			require.NoError(t, err)
			if err := cmd.Wait(); err != nil { // on a busy machine etcd may answer late
				require.Contains(t, string(rest), "has not confirmed", err)
				return true
			}
			return false
		}
	}
	endServer := start("registered", "-name", "a", "-zone", "z")
	endClient := start("server=a", "-client")
	client := etcd.Client(t)
	keys := func() int64 {
		resp, err := client.Get(t.Context(), "whoami/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		require.NoError(t, err)
		return resp.Count
	}
	require.EqualValues(t, 1, keys())
	if !endServer() {
		require.Zero(t, keys())
	}
	require.False(t, endClient(), "it has nothing to remove")
}
