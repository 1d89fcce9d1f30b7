//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/bubble"
)

func TestASignalThatComesBetweenTheWaitAndTheCommandIsHeeded(t *testing.T) {
	t.Parallel()
	a := &app{signals: make(chan os.Signal, 1)}
	a.signals <- syscall.SIGTERM
	over, end := context.WithCancel(t.Context()) // so that nothing is started in any case
	end()
	w := &work{path: "/no/such/program", options: &runOptions{}}
	err := a.execute(t.Context(), w, &tenure{lease: leash{over}, cause: over.Err})
	require.Equal(t, interruption{syscall.SIGTERM}, err, "it is not started")
}

func TestALineThatCannotBeKilledIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := wholeShell(ctx, "echo ready; read line")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	kill := make(chan struct{})
	cmd.Cancel = func() error { close(kill); return syscall.EPERM } // as it is for another user's processes
	ended := make(chan error, 1)
	go func() { ended <- runWhole(ctx, cmd) }()
	_, err = fmt.Fscanln(out, new(string))
	require.NoError(t, err)
	cancel()
	<-kill
	select {
	case err := <-ended:
		require.ErrorIs(t, err, errImmortal)
	case <-time.After(time.Minute):
		require.Fail(t, "it is waited for")
	}
	require.NoError(t, in.Close())
}

func TestALossIsToldWhenTheLineOfAnOutageBeforeHasEnded(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		ctx, kill := context.WithCancel(t.Context())
		told := 0
		v := &alarm{kill: kill, ended: make(chan struct{})}
		v.run = func() {
			told++
			select {
			case <-time.After(4 * time.Second):
			case <-ctx.Done():
			}
		}
		close(v.ended)
		v.give()
		v.given = false // the outage was over
		v.lost = true
		v.give()
		synctest.Wait()
		require.Equal(t, 1, told, "not beside itself")
		start := time.Now()
		v.end(t.Context(), time.Second)
		require.Equal(t, 2, told)
		require.Equal(t, 8*time.Second, time.Since(start), "nobody waits for its end")
	})
}
