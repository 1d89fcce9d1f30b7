package lock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/lock"
)

// historyGoroutines is how many goroutines of a process lock, each on its own.
const historyGoroutines = 4

// handoffProcesses are the options of the processes in a history.
var handoffProcesses = [][]lock.Option{
	{lock.WithLocalHandoff(3)},
	{lock.WithLocalHandoff(2), lock.WithLinger(20 * time.Millisecond)},
	{lock.WithLinger(50 * time.Millisecond)},
}

// handoffWorker is one goroutine of a process: it shares client, network and session with
// the others.
type handoffWorker struct {
	*historyWorker

	opts []lock.Option
}

// TestHistoriesWithHandoffUnderFaultsAreThoseOfALock is as without hand-off: the order of
// tokens, exclusion before the deadlines, and guarded writes.
func TestHistoriesWithHandoffUnderFaultsAreThoseOfALock(t *testing.T) {
	t.Parallel()
	length, random := historyChoices(t, historyTime)
	r := newHistoryRun(t, "a", "b")
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var all sync.WaitGroup
	for i, opts := range handoffProcesses {
		process := &historyWorker{historyRun: r, ttl: time.Duration(1+i/2) * time.Second, net: r.cluster.Net(t)}
		require.NoError(t, process.join(guarded(t)))
		for range historyGoroutines {
			w := *process
			w.id = len(r.workers)
			w.random = random(uint64(w.id))
			r.workers = append(r.workers, &w)
			all.Go(func() { (&handoffWorker{&w, opts}).work(ctx) })
		}
	}
	for i, mischief := range []func(context.Context, *rand.Rand){r.hunt, r.breakNetworks, r.breakMembers, r.revokeLeases} {
		all.Go(func() { mischief(ctx, random(uint64(100+i))) })
	}
	all.Wait()
	r.recover()
	r.h.forgetBlind()
	r.h.check(t)
	if r.h.counts["granted"] > 50 { // a machine under load gets by with less
		require.Positive(t, r.h.counts["handed on"])
	}
}

// work locks, writes and unlocks until ctx ends.
func (w *handoffWorker) work(ctx context.Context) {
	for ctx.Err() == nil {
		name := w.names[w.random.IntN(len(w.names))]
		hold, d, err := w.lock(ctx, name)
		if err == nil {
			w.use(ctx, hold, &d)
			w.finish(hold, &d)
			w.h.addTenure(d)
		}
		if w.chance(8) {
			w.read(ctx, w.id, w.client, name)
		}
		pause(ctx, between(w.random, 0, 3*time.Millisecond))
	}
}

// lock calls Lock or TryLock. That a TryLock was refused says less than without hand-off:
// the process may be about to lock.
func (w *handoffWorker) lock(ctx context.Context, name string) (*lock.Hold, tenure, error) {
	m, err := lock.NewMutex(w.session, name, w.opts...)
	if err != nil {
		w.t.Error(err)
		return nil, tenure{}, err
	}
	deadline := time.Now().Add(between(w.random, 20*time.Millisecond, 3*time.Second))
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	take := m.Lock
	if w.chance(6) {
		take = m.TryLock
	}
	call := w.h.now()
	hold, err := take(ctx)
	ret := w.h.now()
	assert.Less(w.t, time.Since(deadline), patience, "what Lock takes to return")
	if err != nil {
		if !errors.Is(err, lock.ErrLocked) {
			assert.ErrorIs(w.t, err, ctx.Err())
		}
		w.h.count("not granted")
		return nil, tenure{}, err
	}
	w.h.count("granted")
	if hold.Token().Sequence() > 0 {
		w.h.count("handed on")
	}
	w.h.add(w.id, call, ret, operation{kind: opLock, name: name, token: hold.Token()})
	return hold, tenure{worker: w.id, name: name, key: hold.Key(), token: hold.Token(), granted: ret, unlocked: open}, nil
}

// finish ends the hold.
func (w *handoffWorker) finish(hold *lock.Hold, d *tenure) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*w.ttl)
	defer cancel()
	if w.chance(10) { // nobody waits for the outcome
		cancel()
		_ = hold.Unlock(ctx)
	} else {
		d.unlocked = w.outcome(hold.Unlock(ctx))
	}
	<-hold.Context().Done()
	d.until = w.h.at(hold.Deadline())
}

// revokeLeases is an operator who revokes leases and deletes keys. What a lease's other
// holds go through is not told apart.
func (r *historyRun) revokeLeases(ctx context.Context, random *rand.Rand) {
	for pause(ctx, between(random, 300*time.Millisecond, 2*time.Second)) {
		limited, cancel := context.WithTimeout(ctx, time.Second)
		entries, err := lock.Inspect(limited, r.operator, r.names[random.IntN(len(r.names))])
		if err == nil && len(entries) > 0 {
			e := entries[random.IntN(len(entries))]
			r.h.addTampering(tampering{from: r.h.now(), lease: e.Lease})
			if random.IntN(2) == 0 {
				r.h.count("revoked")
				_, err = r.operator.Revoke(limited, e.Lease)
			} else {
				r.h.count("deleted")
				_, err = r.operator.Delete(limited, e.Key)
			}
		}
		if err != nil {
			r.h.count(fmt.Sprintf("operator failed: %v", err))
		}
		cancel()
	}
}

// forgetBlind drops the holds that a process has handed on although an operator had taken
// the entry away, and nobody had noticed: another may have been granted before. The
// guarantees do not cover them, but for S4: one that has written stays.
func (h *history) forgetBlind() {
	blind := make(map[lock.Token]bool)
	for _, d := range h.tenures {
		blind[d.token] = d.token.Sequence() > 0 && h.sparedUntil(d) < d.granted
	}
	for _, o := range h.operations {
		if in := as[operation](o.Input); in.kind == opWrite {
			delete(blind, in.token)
		}
	}
	before := len(h.tenures)
	h.tenures = slices.DeleteFunc(h.tenures, func(d tenure) bool { return blind[d.token] })
	h.operations = slices.DeleteFunc(h.operations, func(o porcupine.Operation) bool { return blind[as[operation](o.Input).token] })
	h.counts["blind"] += before - len(h.tenures)
}
