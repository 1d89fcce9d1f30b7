package chaos_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/chaos"
	"github.com/conclave-go/conclave/internal/chaos/history"
)

func exited(worker, detail string) history.Event {
	return history.Event{Kind: history.Exited, Worker: worker, Detail: detail}
}

func TestNobodyIsWaitedForWhenNoWorkerIsLeft(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		began, log := time.Now(), history.NewLog()
		failed := make(chan error, 1)
		log.Add(exited("w1", "w1 ended: exit status 2 panic: one"))
		go func() { failed <- chaos.AwaitGrant(t.Context(), log, "w1", "w2", "w3") }()
		<-time.After(time.Second)
		log.Add(exited("w2", "")) // it was killed
		<-time.After(time.Second)
		log.Add(exited("w3", "w3 ended: exit status 66"))
		require.EqualError(t, <-failed, "no sign of a grant, and no worker is left; w1 ended: exit status 2 panic: one; w3 ended: exit status 66")
		require.Equal(t, 2*time.Second, time.Since(began))
	})
}

func TestAGrantIsAwaitedWhileAWorkerIsLeft(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		log, granted := history.NewLog(), make(chan error, 1)
		go func() { granted <- chaos.AwaitGrant(t.Context(), log, "w1", "w2") }()
		<-time.After(time.Second)
		log.Add(exited("w1", "w1 ended by itself"))
		<-time.After(time.Second)
		require.Empty(t, granted)
		log.Add(history.Event{Kind: history.Granted, Worker: "w2", Lock: "l"})
		require.NoError(t, <-granted)
	})
}

func TestAWorkerThatFailsToStartFailsTheStart(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		began, log := time.Now(), history.NewLog()
		log.Add(history.Event{Kind: history.Ready, Worker: "w1"})
		log.Add(exited("w2", "w2 ended: exit status 1"))
		require.EqualError(t, chaos.AwaitReady(t.Context(), log, "w1", "w2"), "w2 has ended")
		log.Add(history.Event{Kind: history.Ready, Worker: "w3"})
		require.NoError(t, chaos.AwaitReady(t.Context(), log, "w1", "w3"))
		require.Zero(t, time.Since(began))
		require.ErrorContains(t, chaos.AwaitReady(t.Context(), log, "w1", "w4"), "not all workers have begun")
	})
}
