package lock_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

const (
	modelClients = 4
	modelTTL     = 5 * time.Second
	// The longest that things take to settle after a step: requests and events, each of them up to mostDrag twice;
	// with an operator's doings, until the next look; with an outage, until what it left behind has expired.
	settleQuiet    = 20 * mostDrag
	settleOperator = modelTTL/3 + settleQuiet
	settleOutage   = modelTTL + 2*time.Second
)

// The model is a queue: acquisitions stand in it in the order of their keys' revisions, the first holds the lock and
// knows it, all others wait. What a step may change is known for each acquisition; all else is as it was.
func TestMutexBehavesAsAQueueWhateverClientsOperatorsAndTheNetworkDo(t *testing.T) {
	t.Parallel()
	total := make(map[string]int)
	rapid.Check(t, func(rt *rapid.T) {
		script := drawScenario(rt)
		var err error
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			// A failure must not be this t's: it would outlive rapid's attempts to find a simpler one.
			w := newWorld(t, s, script.Drag)
			w.play(script.Steps)
			w.finish()
			err = w.err
			for what, n := range w.happened {
				total[what] += n
			}
		})
		if err != nil {
			t.Log(err) // here too: rapid drops the log of a failure that does not come again
			rt.Log(err)
			rt.Fatal("not what the model does") // the same each time, or rapid takes it for another failure
		}
	})
	t.Log(total)
}

// world is the system under test, and the model beside it.
type world struct {
	t        *testing.T
	server   *vtime.Server
	observer *clientv3.Client // and operator: never cut off
	clients  [modelClients]*modelClient
	inStep   sync.WaitGroup // the calls that have to return before the step is over
	revoked  bool           // the step has an operator in it
	history  clientv3.WatchChan
	stands   []*mvccpb.KeyValue // the entries there are, in the server's order
	owned    map[int64]bool     // those that have ever been first

	mu       sync.Mutex
	err      error // the first deviation
	refused  []refusal
	all      []*acquisition
	highest  lock.Token // granted so far
	happened map[string]int
}

type modelClient struct {
	client  *clientv3.Client
	cut     *vtime.Cut
	session *lease.Session
	losses  atomic.Int64 // leases lost

	before int64 // losses before the step
	closed bool  // in this step
}

// acquisition is a call of Lock or TryLock and what became of it.
type acquisition struct {
	id     string
	by     int
	try    bool
	cancel context.CancelFunc

	// The fields below are protected by the world's mu.

	hold *lock.Hold
	err  error
	done bool // hold or err is set

	// The model's part.

	token    lock.Token // of its entry, when last seen in the queue
	leaving  bool       // unlocked
	canceled bool
	overrule bool // an operator has deleted its entry, or may have
	busy     bool // some action of this step is about it
	over     bool // its story has ended
}

func newWorld(t *testing.T, s *vtime.Server, seed uint64) *world {
	t.Helper()
	w := &world{t: t, server: s, observer: s.Client(), owned: make(map[int64]bool), happened: make(map[string]int)}
	w.history = w.observer.Watch(t.Context(), "lock/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-w.history
	for i := range w.clients {
		c := &modelClient{}
		c.client, c.cut = s.CutClient(vtime.WithDrag(vtime.NewDrag(seed+uint64(i), mostDrag)))
		w.clients[i] = c
		w.newSession(c)
	}
	return w
}

func (w *world) newSession(c *modelClient) {
	var err error
	c.session, err = lease.NewSession(w.t.Context(), c.client, lease.WithTTL(modelTTL),
		lease.WithObserver(lease.Observer{Lost: func(*lease.Lease, error) { c.losses.Add(1) }}))
	c.closed = false
	if err != nil {
		w.failf("new session: %w", err)
	}
}

func (w *world) failf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail(format, args...)
}

// fail notes the first deviation. mu must be held.
func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *world) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.happened[what]++
}

// play goes through the steps until one goes wrong.
func (w *world) play(steps []step) {
	for i, s := range steps {
		w.begin()
		settle := settleQuiet
		if s.Outage != nil {
			settle = settleOutage
			w.note("outage")
			c := w.clients[s.Outage.Client]
			cutWays[s.Outage.Way].Cut(c.cut)
			time.AfterFunc(s.Outage.Lasts, c.cut.Heal)
		}
		start := time.Now()
		slices.SortStableFunc(s.Actions, func(a, b action) int { return int(a.After - b.After) })
		for _, a := range s.Actions {
			vtime.Sleep(time.Until(start.Add(a.After)))
			w.act(a)
		}
		if w.revoked {
			settle = max(settle, settleOperator)
		}
		if s.Outage != nil {
			vtime.Sleep(time.Until(start.Add(s.Outage.Lasts)))
		}
		vtime.Advance(settle)
		w.end()
		if w.err != nil {
			w.err = fmt.Errorf("step %d: %w", i, w.err)
			return
		}
	}
}

// begin notes how things are before a step.
func (w *world) begin() {
	w.revoked = false
	for _, c := range w.clients {
		c.before = c.losses.Load()
	}
	for _, a := range w.all {
		a.busy = false
	}
}

// act does something, if there is something to do it to.
func (w *world) act(a action) {
	switch a.Do {
	case "lock":
		w.lock(a.Client)
	case "try":
		w.try(a.Client)
	case "lock, ctx done":
		w.lockDone(a.Client)
	case "unlock":
		w.unlock(w.t.Context(), nil)
	case "relock":
		w.unlock(w.t.Context(), w.lock)
	case "unlock and leave":
		ctx, cancel := context.WithCancel(w.t.Context())
		cancel()
		w.unlock(ctx, nil)
	case "cancel":
		if x := w.pick(a.Pick, func(x *acquisition) bool { return !x.done && !x.try }); x != nil {
			w.note("cancel")
			x.canceled = true
			x.cancel()
		}
	case "delete":
		w.delete(a.Pick)
	case "revoke":
		w.revoke(a.Client)
	case "close":
		w.close(a.Client)
	}
}

// pick returns one of the acquisitions that are not over, nor subject of another action, and fit.
func (w *world) pick(n int, fit func(*acquisition) bool) *acquisition {
	w.mu.Lock()
	defer w.mu.Unlock()
	var some []*acquisition
	for _, x := range w.all {
		if !x.over && !x.busy && fit(x) {
			some = append(some, x)
		}
	}
	if len(some) == 0 {
		return nil
	}
	x := some[n%len(some)]
	x.busy = true
	return x
}

// begins adds an acquisition by a client.
func (w *world) begins(by int) (x *acquisition, m *lock.Mutex, ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x = &acquisition{id: fmt.Sprintf("%d.%d", by, len(w.all)), by: by}
	ctx, x.cancel = context.WithCancel(w.t.Context())
	w.all = append(w.all, x)
	m, err := lock.NewMutex(w.clients[by].session, "lock", lock.WithOwner(x.id))
	if err != nil {
		w.fail("new mutex: %w", err)
	}
	return x, m, ctx
}

func (w *world) lock(by int) {
	w.note("lock")
	x, m, ctx := w.begins(by)
	go func() { w.came(x)(m.Lock(ctx)) }()
}

func (w *world) try(by int) {
	w.note("try")
	x, m, ctx := w.begins(by)
	x.try = true
	w.inStep.Go(func() { w.came(x)(m.TryLock(ctx)) })
}

func (w *world) lockDone(by int) {
	x, m, ctx := w.begins(by)
	x.canceled = true
	x.cancel()
	began := time.Now()
	w.came(x)(m.Lock(ctx))
	if x.err == nil || time.Since(began) > 0 {
		w.failf("%s: locked with a context that was done: %v after %v", x.id, x.err, time.Since(began))
	}
}

// came returns what takes note of an acquisition's outcome, and checks it against the holds there are.
func (w *world) came(x *acquisition) func(hold *lock.Hold, err error) {
	return func(hold *lock.Hold, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		x.hold, x.err, x.done = hold, err, true
		if err != nil || x.overrule {
			return
		}
		w.happened["granted"]++
		if hold.Token() <= w.highest {
			w.fail("%s: granted token %v after %v", x.id, hold.Token(), w.highest)
		}
		w.highest = hold.Token()
		for _, y := range w.all {
			if y != x && y.hold != nil && y.hold.Err() == nil && !y.overrule {
				w.fail("%s: granted while %s holds", x.id, y.id)
			}
		}
	}
}

// unlock releases the lock if it is held, and then calls next for the same client.
func (w *world) unlock(ctx context.Context, next func(by int)) {
	x := w.pick(0, func(x *acquisition) bool { return x.hold != nil && x.hold.Err() == nil })
	if x == nil {
		return
	}
	w.note("unlock")
	x.leaving = true
	w.inStep.Go(func() {
		err := x.hold.Unlock(ctx)
		if err != nil && (ctx.Err() == nil || !errors.Is(err, ctx.Err())) {
			// Judged after the step: Unlock may return before the lease's loss has been told.
			w.mu.Lock()
			w.refused = append(w.refused, refusal{x, err})
			w.mu.Unlock()
		}
		if next != nil {
			next(x.by)
		}
	})
	synctest.Wait()
	if x.hold.Err() == nil {
		w.failf("%s: still held although Unlock has been called", x.id)
	}
}

// delete is an operator's, of any entry.
func (w *world) delete(n int) {
	all := w.queue()
	if len(all) == 0 {
		return
	}
	e := all[n%len(all)]
	w.mu.Lock()
	for _, x := range w.all {
		if x.id == e.Owner {
			x.overrule = true
		}
	}
	w.mu.Unlock()
	w.note("delete")
	w.revoked = true
	if _, err := w.observer.Delete(w.t.Context(), e.Key); err != nil {
		w.failf("delete: %w", err)
	}
}

// revoke is an operator's, of a client's lease.
func (w *world) revoke(by int) {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Millisecond)
	defer cancel()
	l, err := w.clients[by].session.Lease(ctx)
	if err != nil {
		return // lost or closed a moment ago
	}
	w.overruleAll(by)
	w.note("revoke")
	w.revoked = true
	_, _ = w.observer.Revoke(w.t.Context(), l.ID()) // it may have just expired
}

func (w *world) overruleAll(by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.all {
		if x.by == by {
			x.overrule = true
		}
	}
}

func (w *world) close(by int) {
	c := w.clients[by]
	if c.closed {
		return
	}
	w.note("close")
	w.mu.Lock()
	c.closed = true
	w.mu.Unlock()
	w.inStep.Go(func() {
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		_ = c.session.Close(ctx) // it goes on in the background
	})
}
