package lease_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

func TestARenewalAfterTheDeadlineRevivesNothingBeforeTheTimerHasNoticed(t *testing.T) {
	t.Parallel()
	l := newLease(t, etcdtest.New(t).Client(t), lease.WithTTL(calm))
	l.Overdue()
	require.False(t, l.Extend(calm))
	require.ErrorIs(t, l.Err(), lease.ErrLost)
}

func TestErrFindsOutThatTheDeadlineHasPassedBeforeTheTimerDoes(t *testing.T) {
	t.Parallel()
	l := newLease(t, etcdtest.New(t).Client(t), lease.WithTTL(calm))
	l.Overdue()
	require.ErrorIs(t, l.Err(), lease.ErrLost)
	require.Error(t, l.Context().Err())
	require.Equal(t, lease.Lost, l.State())
}

func TestARenewalAfterTheEndRevivesNothing(t *testing.T) {
	t.Parallel()
	l := newLease(t, etcdtest.New(t).Client(t), lease.WithTTL(calm))
	require.NoError(t, l.Close(guarded(t)))
	require.False(t, l.Extend(calm))
	require.Equal(t, lease.Closed, l.State())
	require.LessOrEqual(t, l.Remaining(), time.Duration(0))
}

func TestARenewalThatIsGoodForLessDoesNotShortenALease(t *testing.T) {
	t.Parallel()
	l := newLease(t, etcdtest.New(t).Client(t), lease.WithTTL(calm))
	deadline := l.Deadline()
	require.True(t, l.Extend(time.Second))
	require.Equal(t, deadline, l.Deadline())
	require.Greater(t, l.Remaining(), time.Second)
}

func TestTheContextHasEndedWhenTheListenerHearsOfTheEnd(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	l := newLease(t, etcdtest.New(t).Client(t), lease.WithTTL(calm), lease.WithStateListener(func(l *lease.Lease, s lease.State) {
		if s.Ended() {
			ended <- l.Context().Err()
		}
	}))
	require.NoError(t, l.Close(guarded(t)))
	require.Error(t, <-ended)
}

func TestStatesThatComeWhileAListenerIsBusyAreToldInTheirOrder(t *testing.T) {
	t.Parallel()
	busy, free := make(chan struct{}), make(chan struct{})
	heard := make(chan lease.State, 10)
	first := sync.OnceFunc(func() {
		close(busy)
		<-free
	})
	l := newLease(t, etcdtest.New(t).Client(t), lease.WithTTL(calm), lease.WithStateListener(func(_ *lease.Lease, s lease.State) {
		heard <- s
		first()
	}))
	told := make(chan struct{})
	go func() {
		defer close(told)
		l.Suspend(errors.New("no answer"))
	}()
	<-busy
	require.True(t, l.Extend(calm))
	l.Suspend(errors.New("no answer again"))
	require.NoError(t, l.Close(guarded(t)))
	close(free)
	<-told
	for _, s := range []lease.State{lease.Suspended, lease.Healthy, lease.Suspended, lease.Closed} {
		require.Equal(t, s, <-heard)
	}
}
