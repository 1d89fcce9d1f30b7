package lock_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/lease"
)

// ledger is kept by an observer: what goes on, and what was told, in order.
type ledger struct {
	t  *testing.T
	mu sync.Mutex
	// now is how many acquisitions, waits, holds and releases are under way.
	now  map[string]int
	told []lease.Event
	what []string // "waited canceled"
}

func newLedger(t *testing.T) *ledger {
	t.Helper()
	return &ledger{t: t, now: make(map[string]int)}
}

// callKey is the key of what the ledger puts into a call's context.
type callKey struct{}

func (l *ledger) observer() lease.Observer {
	opens := func(what, of string) func(e lease.Event) {
		return func(e lease.Event) { l.note(what, e, of, 1) }
	}
	ends := func(what, of string) func(e lease.Event) {
		return func(e lease.Event) { l.note(what, e, of, -1) }
	}
	granted := ends("granted", "acquiring")
	begin := func(what, of string) func(context.Context, lease.Event) context.Context {
		return func(ctx context.Context, e lease.Event) context.Context {
			l.note(what, e, of, 1)
			return context.WithValue(ctx, callKey{}, what)
		}
	}
	return lease.Observer{
		Acquiring: begin("acquiring", "acquiring"),
		Waiting:   opens("waiting", "waiting"),
		Waited:    ends("waited", "waiting"),
		Granted: func(e lease.Event) {
			granted(e)
			l.note("", e, "holds", 1)
		},
		Failed:    ends("failed", "acquiring"),
		Released:  ends("released", "holds"),
		Releasing: begin("releasing", "releasing"),
		Removed:   ends("removed", "releasing"),
	}
}

// note writes down what was told, and by how much it changes what goes on.
func (l *ledger) note(what string, e lease.Event, of string, by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now[of] += by
	if l.now[of] < 0 {
		l.t.Errorf("%s: %d are %s", what, l.now[of], of)
	}
	if what != "" {
		l.told = append(l.told, e)
		l.what = append(l.what, strings.TrimSpace(what+" "+e.Reason.String()))
	}
}

// counts returns how many acquisitions, waits, holds and releases are under way.
func (l *ledger) counts() (acquiring, waiting, holds, releasing int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now["acquiring"], l.now["waiting"], l.now["holds"], l.now["releasing"]
}

// heard returns what was told so far.
func (l *ledger) heard() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.what)
}

// list returns the events of a kind, with the given word first.
func (l *ledger) list(what string) (all []lease.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, w := range l.what {
		if strings.HasPrefix(w, what) {
			all = append(all, l.told[i])
		}
	}
	return all
}

// requireCounts requires that so many waits and holds are under way.
func (l *ledger) requireCounts(t *testing.T, waiting, holds int) {
	t.Helper()
	_, w, h, _ := l.counts()
	require.Equal(t, [2]int{waiting, holds}, [2]int{w, h}, "waits and holds after %v", l.heard())
}

// requireNothing requires that nothing is under way.
func (l *ledger) requireNothing(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, of := range slices.Sorted(maps.Keys(l.now)) {
		require.Zero(t, l.now[of], "%s, after %v", of, l.what)
	}
}
