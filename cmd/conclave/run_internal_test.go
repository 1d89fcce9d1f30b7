//go:build unix

package main

import (
	"context"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
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
