package redlock_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// What happens around a deadline when a process is paused: its timers fire late, and what
// was on its way to it is there when it goes on.

// The timer that ends the hold has not fired, and the answers are there.
func TestAnExtensionThatIsConfirmedAfterTheDeadlineRevivesNothing(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]redlock.MutexOption{"extended": {redlock.WithoutRenewal()}, "renewed": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
				h := lockVirtual(t, virtualNodes(t, v, n), opts...)
				redlock.StopTimer(h)
				cut := func() {
					for i := range n {
						v.Wire(i).Cut()
					}
				}
				if opts == nil {
					cut()
				}
				<-time.After(valid - timeout/2)
				cut()
				extended := make(chan error, 1)
				go func() {
					if opts != nil {
						extended <- h.Extend(t.Context())
					}
					close(extended)
				}()
				<-time.After(timeout/2 + timeout/4) // the deadline passes, and the node timeout does not
				for i := range n {
					v.Wire(i).Heal()
				}
				synctest.Wait()
				require.LessOrEqual(t, h.Remaining(), time.Duration(0), "the deadline is where it was")
				if err, explicit := <-extended; explicit {
					require.ErrorIs(t, err, redlock.ErrLost)
				}
				lost(t, h)
			})
		})
	}
}

// An answer that comes before the deadline is worth what it says, though the node timeout is
// over.
func TestAnExtensionThatIsConfirmedLateCountsFromItsSending(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n), redlock.WithoutRenewal())
		<-time.After(ttl / 2)
		for i := range n {
			v.Wire(i).Cut()
		}
		sent := time.Now()
		require.Error(t, h.Extend(t.Context()))
		require.Equal(t, sent.Add(timeout), time.Now())
		<-time.After(2 * timeout)
		require.Equal(t, sent.Add(valid-ttl/2), h.Deadline(), "not confirmed yet")
		for i := range n {
			v.Wire(i).Heal()
		}
		synctest.Wait()
		require.Equal(t, sent.Add(valid), h.Deadline())
		require.NoError(t, h.Unlock(t.Context()))
	})
}

func TestAnExtensionThatIsConfirmedAfterALaterOneDoesNotShortenTheHold(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		h := lockVirtual(t, virtualNodes(t, v, n), redlock.WithoutRenewal())
		require.NoError(t, h.Extend(t.Context()))
		synctest.Wait() // the nodes have the script
		<-time.After(ttl / 2)
		slowly(v, n, timeout)
		first := make(chan error, 1)
		go func() { first <- h.Extend(t.Context()) }()
		<-time.After(timeout / 4) // it is on its way
		slowly(v, n, 0)
		sent := time.Now()
		require.NoError(t, h.Extend(t.Context()))
		require.Equal(t, sent.Add(valid), h.Deadline())
		require.NoError(t, <-first)
		require.NotEqual(t, sent, time.Now(), "it was confirmed later")
		require.Equal(t, sent.Add(valid), h.Deadline())
		require.NoError(t, h.Unlock(t.Context()))
	})
}

// late is a context whose Err takes its time: whoever asks it is paused.
type late struct {
	context.Context
	pause atomic.Int64 // of the next call
}

func (l *late) Err() error {
	if d := time.Duration(l.pause.Swap(0)); d > 0 {
		<-time.After(d)
	}
	return l.Context.Err()
}

// answered calls a function when a node has answered an acquisition.
type answered struct{ then func() }

func (a answered) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a answered) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (a answered) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if reply, ok := cmd.(interface{ Val() any }); ok && reply.Val() == int64(1) {
			a.then()
		}
		return err
	}
}

func TestAQuorumThatIsFoundAfterTheDeadlineMakesNoHold(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		ctx := &late{Context: t.Context()}
		clients := v.Clients(t)
		for _, c := range clients {
			c.AddHook(answered{func() { ctx.pause.Store(int64(valid)) }})
		}
		nodes, err := redlock.NewNodes(clients, redlock.WithTTL(ttl))
		require.NoError(t, err)
		m, err := redlock.NewMutex(nodes, name)
		require.NoError(t, err)
		_, err = m.TryLock(ctx)
		require.ErrorContains(t, err, "after the deadline")
		require.NoError(t, nodes.Close(t.Context()))
		for i := range n {
			require.False(t, v.Wire(i).Redis().Exists(name))
		}
	})
}

func TestALockThatIsGrantedAsItsContextEndsIsGivenBack(t *testing.T) {
	t.Parallel()
	onVirtualSizes(t, func(t *testing.T, v *redistest.Virtual, n int) {
		ctx := &ending{Context: t.Context()}
		clients := v.Clients(t)
		for _, c := range clients {
			c.AddHook(answered{func() { ctx.ended.Store(true) }})
		}
		nodes, err := redlock.NewNodes(clients, redlock.WithTTL(ttl))
		require.NoError(t, err)
		m, err := redlock.NewMutex(nodes, name)
		require.NoError(t, err)
		for what, lock := range map[string]func(context.Context) (*redlock.Hold, error){"Lock": m.Lock, "TryLock": m.TryLock} {
			ctx.ended.Store(false)
			h, err := lock(ctx)
			require.ErrorIs(t, err, context.Canceled, what)
			require.Nil(t, h)
			synctest.Wait()
			for i := range n {
				require.False(t, v.Wire(i).Redis().Exists(name), what)
			}
		}
		require.NoError(t, nodes.Close(t.Context()))
	})
}

// unheard lets a client not hear the answer to its next acquisition.
type unheard struct {
	answered

	next *atomic.Bool
}

// unheardError is what a client says that has waited too long.
type unheardError struct{}

func (unheardError) Error() string   { return "i/o timeout" }
func (unheardError) Timeout() bool   { return true }
func (unheardError) Temporary() bool { return true }

func (u unheard) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		acquired, ok := cmd.(interface {
			Val() any
			SetVal(any)
		})
		if ok && len(cmd.Args()) == 8 && acquired.Val() == int64(1) && cmd.Args()[7] == "0" && u.next.Swap(false) {
			acquired.SetVal(nil)
			cmd.SetErr(unheardError{})
			return unheardError{}
		}
		return err
	}
}

// A node that did not have the key is asked to set it again, and its answer is lost. The key
// may be there.
func TestAKeyThatWasPutBackWithoutAnAnswerIsRemoved(t *testing.T) {
	t.Parallel()
	inBubble(t, 3, func(t *testing.T, v *redistest.Virtual) {
		clients := v.Clients(t)
		var lose atomic.Bool
		clients[0].AddHook(unheard{next: &lose})
		require.NoError(t, v.Wire(0).Redis().Set(name, "another"))
		nodes, err := redlock.NewNodes(clients, redlock.WithTTL(ttl))
		require.NoError(t, err)
		m, err := redlock.NewMutex(nodes, name, redlock.WithoutRenewal())
		require.NoError(t, err)
		h, err := m.TryLock(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		v.Wire(0).Redis().Del(name)
		lose.Store(true)
		require.NoError(t, h.Extend(t.Context()))
		synctest.Wait()
		require.False(t, lose.Load(), "an answer is lost")
		require.True(t, v.Wire(0).Redis().Exists(name), "and the key is there")
		require.NoError(t, h.Unlock(t.Context()))
		synctest.Wait()
		require.False(t, v.Wire(0).Redis().Exists(name))
		require.NoError(t, nodes.Close(t.Context()))
	})
}

// The lock was granted without a node, whose answer was lost, and which seems to lack the key:
// it is asked again, and answers. The first request may still come.
func TestARequestThatMayStillComeStaysInDoubtAlthoughALaterOneHasAnAnswer(t *testing.T) {
	t.Parallel()
	inBubble(t, 3, func(t *testing.T, v *redistest.Virtual) {
		clients := v.Clients(t)
		var lose atomic.Bool
		lose.Store(true)
		clients[0].AddHook(unheard{next: &lose})
		nodes, err := redlock.NewNodes(clients, redlock.WithTTL(ttl))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, nodes.Close(context.Background())) })
		m, err := redlock.NewMutex(nodes, name, redlock.WithoutRenewal())
		require.NoError(t, err)
		h, err := m.TryLock(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		require.False(t, lose.Load(), "an answer is lost")
		v.Wire(0).Redis().Del(name)
		require.NoError(t, h.Extend(t.Context()))
		synctest.Wait()
		require.True(t, v.Wire(0).Redis().Exists(name), "it is put back")
		require.NoError(t, h.Unlock(t.Context()))
		synctest.Wait()
		require.False(t, v.Wire(0).Redis().Exists(name))
		require.Len(t, v.Wire(0).Redis().Keys(), 1, "a tombstone, which refuses the first request")
		require.Empty(t, v.Wire(1).Redis().Keys())
	})
}
