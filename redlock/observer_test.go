package redlock_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

// ledger is kept by an observer: what goes on, and what was told, in order.
type ledger struct {
	t     *testing.T
	mu    sync.Mutex
	now   map[string]int // acquisitions, waits, holds and releases under way
	told  []redlock.Event
	what  []string // "waited canceled"
	nodes []string // "acquire failed"
	quora []string // operations without a quorum
}

// callKey is the key of what the ledger puts into a call's context.
type callKey struct{}

func (l *ledger) observer() redlock.Observer {
	l.now = make(map[string]int)
	note := func(what string, by map[string]int) func(redlock.Event) {
		return func(e redlock.Event) { l.note(what, e, by) }
	}
	begin := func(what string) func(context.Context, redlock.Event) context.Context {
		return func(ctx context.Context, e redlock.Event) context.Context {
			l.note(what, e, map[string]int{what: 1})
			return context.WithValue(ctx, callKey{}, what)
		}
	}
	return redlock.Observer{
		Acquiring: begin("acquiring"),
		Waiting:   note("waiting", map[string]int{"waiting": 1}),
		Waited:    note("waited", map[string]int{"waiting": -1}),
		Granted:   note("granted", map[string]int{"acquiring": -1, "holds": 1}),
		Failed:    note("failed", map[string]int{"acquiring": -1}),
		Extended:  note("extended", nil),
		Released:  note("released", map[string]int{"holds": -1}),
		Releasing: begin("releasing"),
		Removed:   note("removed", map[string]int{"releasing": -1}),
		NodeFailed: func(f redlock.NodeFailure) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.nodes = append(l.nodes, f.Op+" "+f.State.String())
			if f.Node == "" || f.Err == nil {
				l.t.Errorf("who failed, and why: %+v", f)
			}
		},
		NoQuorum: func(op string) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.quora = append(l.quora, op)
		},
	}
}

func (l *ledger) note(what string, e redlock.Event, by map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for of, n := range by {
		l.now[of] += n
		if l.now[of] < 0 {
			l.t.Errorf("%s: %d are %s", what, l.now[of], of)
		}
	}
	l.told = append(l.told, e)
	l.what = append(l.what, strings.TrimSpace(what+" "+e.Reason.String()))
}

// heard returns what was told so far.
func (l *ledger) heard() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.what)
}

// failures returns the requests in which nodes have failed, and those without a quorum.
func (l *ledger) failures() (nodes, quora []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.nodes), slices.Clone(l.quora)
}

// first returns the first event of a kind.
func (l *ledger) first(what string) redlock.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, w := range l.what {
		if strings.HasPrefix(w, what) {
			return l.told[i]
		}
	}
	require.FailNow(l.t, "never told: "+what)
	return redlock.Event{}
}

// requireNothing requires that nothing is under way.
func (l *ledger) requireNothing(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for of, n := range l.now {
		require.Zero(t, n, "%s, after %v", of, l.what)
	}
}

// scene is a process with a ledger, and one without, on three virtual nodes.
type scene struct {
	*ledger
	v           *redistest.Virtual
	mine, other *redlock.Nodes
}

func (x *scene) mutex(t *testing.T, nodes *redlock.Nodes) *redlock.Mutex {
	t.Helper()
	m, err := redlock.NewMutex(nodes, name)
	require.NoError(t, err)
	return m
}

// lockSoon locks in the background and returns once that waits.
func (x *scene) lockSoon(ctx context.Context, t *testing.T) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		h, err := x.mutex(t, x.mine).Lock(ctx)
		if err == nil {
			err = h.Unlock(ctx)
		}
		done <- err
	}()
	pass(time.Millisecond)
	return done
}

// pass lets virtual time pass, and all that it sets off happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (x *scene) wires(fn func(w *redistest.Wire)) {
	for i := range 3 {
		fn(x.v.Wire(i))
	}
}

func TestWhatIsToldComesInPairs(t *testing.T) {
	t.Parallel()
	given := []string{"released", "releasing", "removed"}
	cases := map[string]struct {
		run  func(t *testing.T, x *scene)
		want []string
	}{
		"unlocked": {func(t *testing.T, x *scene) {
			t.Helper()
			require.NoError(t, lockVirtual(t, x.mine).Unlock(t.Context()))
		}, append([]string{"acquiring", "granted"}, given...)},
		"granted after a wait": {func(t *testing.T, x *scene) {
			t.Helper()
			h := lockVirtual(t, x.other)
			done := x.lockSoon(t.Context(), t)
			require.Equal(t, []string{"acquiring", "waiting taken"}, x.heard())
			require.NoError(t, h.Unlock(t.Context()))
			require.NoError(t, <-done)
			require.True(t, x.first("granted").Waited)
		}, append([]string{"acquiring", "waiting taken", "waited", "granted"}, given...)},
		"cancelled while it waits": {func(t *testing.T, x *scene) {
			t.Helper()
			h := lockVirtual(t, x.other)
			ctx, cancel := context.WithCancel(t.Context())
			done := x.lockSoon(ctx, t)
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
			require.NoError(t, h.Unlock(t.Context()))
		}, []string{"acquiring", "waiting taken", "waited canceled", "failed canceled"}},
		"out of time without a quorum": {func(t *testing.T, x *scene) {
			t.Helper()
			x.wires((*redistest.Wire).Cut)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.ErrorIs(t, <-x.lockSoon(ctx, t), context.DeadlineExceeded)
			x.wires((*redistest.Wire).Heal)
			_, quora := x.failures()
			require.NotEmpty(t, quora)
		}, []string{"acquiring", "waiting no_quorum", "waited timeout", "failed timeout"}},
		"tried in vain": {func(t *testing.T, x *scene) {
			t.Helper()
			h := lockVirtual(t, x.other)
			_, err := x.mutex(t, x.mine).TryLock(t.Context())
			require.ErrorIs(t, err, redlock.ErrLocked)
			require.NoError(t, h.Unlock(t.Context()))
		}, []string{"acquiring", "failed taken"}},
		"lost at its deadline": {func(t *testing.T, x *scene) {
			t.Helper()
			lockVirtual(t, x.mine)
			x.wires((*redistest.Wire).Cut)
			pass(ttl)
			x.wires((*redistest.Wire).Heal)
			require.Contains(t, x.heard(), "extended no_quorum")
		}, []string{"acquiring", "granted", "released deadline"}},
		"lost with its keys": {func(t *testing.T, x *scene) {
			t.Helper()
			h := lockVirtual(t, x.mine)
			x.wires((*redistest.Wire).Restart)
			require.ErrorIs(t, h.Extend(t.Context()), redlock.ErrLost)
		}, []string{"acquiring", "granted", "released denied"}},
		"nodes closed while it is held and waited for": {func(t *testing.T, x *scene) {
			t.Helper()
			lockVirtual(t, x.mine)
			done := x.lockSoon(t.Context(), t)
			require.NoError(t, x.mine.Close(t.Context()))
			require.ErrorIs(t, <-done, redlock.ErrClosed)
		}, []string{"acquiring", "granted", "acquiring", "waiting taken", "released closed", "waited closed", "failed closed"}},
		"extended by itself": {func(t *testing.T, x *scene) {
			t.Helper()
			h := lockVirtual(t, x.mine)
			pass(ttl / 2)
			require.Equal(t, []string{"acquiring", "granted", "extended"}, x.heard())
			require.NoError(t, h.Unlock(t.Context()))
			require.Equal(t, ttl/2, x.first("released").Took)
			require.Equal(t, h.Context(), x.first("released").Context)
			require.Nil(t, h.Context().Value(callKey{}), "the hold's context is of the caller's")
			require.Equal(t, "acquiring", x.first("granted").Context.Value(callKey{}))
			require.Equal(t, "releasing", x.first("removed").Context.Value(callKey{}))
			require.Equal(t, name, x.first("acquiring").Name)
		}, append([]string{"acquiring", "granted"}, given...)},
	}
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			inBubble(t, 3, func(t *testing.T, v *redistest.Virtual) {
				x := &scene{ledger: &ledger{t: t}, v: v}
				x.mine = virtualNodes(t, v, 3, redlock.WithObserver(x.observer()), redlock.WithObserver(redlock.Observer{}))
				x.other = virtualNodes(t, v, 3)
				c.run(t, x)
				pass(10 * time.Second)
				x.requireNothing(t)
				heard := slices.DeleteFunc(x.heard(), func(what string) bool { return strings.HasPrefix(what, "extended") })
				require.Equal(t, c.want, heard)
			})
		})
	}
}

func TestNodesThatFailAreTold(t *testing.T) {
	t.Parallel()
	inBubble(t, 3, func(t *testing.T, v *redistest.Virtual) {
		l := &ledger{t: t}
		nodes := virtualNodes(t, v, 3, redlock.WithObserver(l.observer()))
		v.Wire(2).Cut()
		h := lockVirtual(t, nodes)
		told, _ := l.failures()
		require.Empty(t, told, "the quorum did not wait for it")
		pass(timeout)
		told, quora := l.failures()
		require.Equal(t, []string{"acquire failed"}, told, "it is told although that was decided")
		require.Empty(t, quora)
		v.Wire(1).Cut()
		require.Error(t, h.Extend(t.Context()))
		pass(timeout)
		told, quora = l.failures()
		require.Equal(t, []string{"acquire failed", "extend failed", "extend failed"}, told)
		require.Equal(t, []string{"extend"}, quora)
		require.NotEmpty(t, l.first("extended").Err)
	})
}
