package lock_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// The model of every kind is one: entries stand in one queue or several, in the order of
// their revisions; each has a weight there, and those own whose weight and that of all
// before them is at most the queue's capacity. For a writer, and in a mutex, the weight
// is all of the capacity.

// modelKind is a kind of lock as the model sees it.
type modelKind struct {
	name     string
	names    []string // of the queues
	capacity int
	ask      func(pick int) modelRequest
}

// modelRequest is what an acquisition asks for.
type modelRequest struct {
	weights map[string]int // by queue
	open    func(s *lease.Session, owner lock.Option) (opened, error)
}

// opened are the two ways of acquiring, and if it is one the RWMutex they are of.
type opened struct {
	lock, try func(context.Context) (*lock.Hold, error)
	rw        *lock.RWMutex
}

var modelKinds = []modelKind{
	{"RWMutex", []string{"lock"}, manyReaders, askRW},
	{"Semaphore", []string{"lock"}, 4, askSemaphore},
	{"Multi", []string{"lock/a", "lock/b", "lock/c"}, 1, askMulti},
}

func askRW(pick int) modelRequest {
	if pick%3 == 0 {
		return modelRequest{map[string]int{"lock": manyReaders}, func(s *lease.Session, owner lock.Option) (opened, error) {
			m, err := lock.NewRWMutex(s, "lock", owner)
			return opened{m.Lock, m.TryLock, m}, err
		}}
	}
	return modelRequest{map[string]int{"lock": 1}, func(s *lease.Session, owner lock.Option) (opened, error) {
		m, err := lock.NewRWMutex(s, "lock", owner)
		return opened{m.RLock, m.TryRLock, m}, err
	}}
}

func askSemaphore(pick int) modelRequest {
	n := []int{1, 1, 1, 2, 2, 3, 3, 4}[pick]
	return modelRequest{map[string]int{"lock": n}, func(s *lease.Session, owner lock.Option) (opened, error) {
		m, err := lock.NewSemaphore(s, "lock", 4, owner)
		acquire := func(ctx context.Context) (*lock.Hold, error) { return m.Acquire(ctx, n) }
		return opened{acquire, tryPermits(m, n), nil}, err
	}}
}

func askMulti(pick int) modelRequest {
	names := [][]string{
		{"lock/a"},
		{"lock/b", "lock/a"},
		{"lock/a", "lock/c"},
		{"lock/b", "lock/c"},
		{"lock/c", "lock/b", "lock/a"},
		{"lock/a", "lock/b"},
		{"lock/c"},
		{"lock/b"},
	}[pick]
	weights := map[string]int{}
	for _, name := range names {
		weights[name] = 1
	}
	return modelRequest{weights, func(s *lease.Session, owner lock.Option) (opened, error) {
		if len(names) == 1 && pick != 6 {
			m, err := lock.NewMutex(s, names[0], owner)
			return opened{m.Lock, m.TryLock, nil}, err
		}
		m, err := lock.NewMulti(s, names, owner)
		return opened{m.Lock, m.TryLock, nil}, err
	}}
}

func TestTheFamilyBehavesAsQueuesWhateverClientsOperatorsAndTheNetworkDo(t *testing.T) {
	t.Parallel()
	for _, kind := range modelKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			total := make(map[string]int)
			drawn, failed := 0, false
			rapid.Check(t, func(rt *rapid.T) {
				script := drawScenario(rt)
				if drawn++; drawn%modelShare != 1 && !failed {
					return
				}
				var err error
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					w := newFamilyWorld(t, s, kind, script.Drag)
					w.play(script.Steps)
					w.finish()
					err = w.err
					for what, n := range w.happened {
						total[what] += n
					}
				})
				if err != nil {
					failed = true
					t.Log(err)
					rt.Log(err)
					rt.Fatal("not what the model does")
				}
			})
			t.Log(total)
		})
	}
}

// modelShare is of how many scenarios one is played, because there are several kinds.
// More are played with -rapid.checks.
const modelShare = 8

// settleChain is how long it takes, besides, until a release has gone through a queue of
// those whom it lets in one after the other.
const settleChain = 40 * mostDrag

// familyWorld is a world with another model.
type familyWorld struct {
	*world

	kind modelKind
	// The fields below are protected by the world's mu.

	asks   map[*acquisition]modelRequest
	opened map[*acquisition]opened
	past   standings
	latest map[string]lock.Token // exclusive grants by queue
}

func newFamilyWorld(t *testing.T, s *vtime.Server, kind modelKind, seed uint64) *familyWorld {
	t.Helper()
	return &familyWorld{
		world: newWorld(t, s, seed), kind: kind,
		asks: map[*acquisition]modelRequest{}, opened: map[*acquisition]opened{},
		past: newStandings(kind), latest: map[string]lock.Token{},
	}
}

// play goes through the steps until one goes wrong.
func (w *familyWorld) play(steps []step) {
	for i, s := range steps {
		w.begin()
		settle := settleQuiet + settleChain
		start := time.Now()
		if o := s.Outage; o != nil {
			settle = settleOutage + settleChain
			w.note("outage")
			c := w.clients[o.Client]
			cutWays[o.Way].Cut(c.cut)
			time.AfterFunc(o.Lasts, c.cut.Heal)
		}
		slices.SortStableFunc(s.Actions, func(a, b action) int { return int(a.After - b.After) })
		for _, a := range s.Actions {
			vtime.Sleep(time.Until(start.Add(a.After)))
			w.act(a)
		}
		if w.revoked {
			settle = max(settle, settleOperator+settleChain)
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

func (w *familyWorld) act(a action) {
	switch a.Do {
	case "lock":
		w.lock(a.Client, a.Pick)
	case "try":
		w.try(a.Client, a.Pick)
	case "lock, ctx done":
		w.lockDone(a.Client, a.Pick)
	case "unlock":
		w.unlock(w.t.Context(), a.Pick, nil)
	case "relock":
		if a.Pick%2 == 0 && w.downgrade(a.Pick) {
			return
		}
		w.unlock(w.t.Context(), a.Pick, func(by int) { w.lock(by, a.Pick) })
	case "unlock and leave":
		ctx, cancel := context.WithCancel(w.t.Context())
		cancel()
		w.unlock(ctx, a.Pick, nil)
	case "delete":
		w.delete(a.Pick)
	default:
		w.world.act(a)
	}
}

// begins adds an acquisition by a client, of what pick says.
func (w *familyWorld) begins(by, pick int) (x *acquisition, how opened, ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x = &acquisition{id: fmt.Sprintf("%d.%d", by, len(w.all)), by: by}
	ctx, x.cancel = context.WithCancel(w.t.Context())
	w.all = append(w.all, x)
	w.asks[x] = w.kind.ask(pick)
	how, err := w.asks[x].open(w.clients[by].session, lock.WithOwner(x.id))
	if err != nil {
		w.fail("open: %w", err)
	}
	w.opened[x] = how
	w.past.weights[x.id] = maps.Clone(w.asks[x].weights)
	return x, how, ctx
}

func (w *familyWorld) lock(by, pick int) {
	w.note("lock")
	x, how, ctx := w.begins(by, pick)
	go func() { w.came(x)(how.lock(ctx)) }()
}

func (w *familyWorld) try(by, pick int) {
	w.note("try")
	x, how, ctx := w.begins(by, pick)
	x.try = true
	w.inStep.Go(func() { w.came(x)(how.try(ctx)) })
}

func (w *familyWorld) lockDone(by, pick int) {
	x, how, ctx := w.begins(by, pick)
	x.canceled = true
	x.cancel()
	began := time.Now()
	w.came(x)(how.lock(ctx))
	if x.err == nil || time.Since(began) > 0 {
		w.failf("%s: locked with a context that was done: %v after %v", x.id, x.err, time.Since(began))
	}
}

// came returns what takes note of an outcome, and checks it against the holds there are.
func (w *familyWorld) came(x *acquisition) func(hold *lock.Hold, err error) {
	return func(hold *lock.Hold, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		x.hold, x.err, x.done = hold, err, true
		if err != nil || x.overrule {
			return
		}
		w.happened["granted"]++
		for queue, weight := range w.asks[x].weights {
			if sum := w.taken(queue); sum > w.kind.capacity {
				w.fail("%s: granted, which makes %d of %d in %s", x.id, sum, w.kind.capacity, queue)
			}
			if weight == w.kind.capacity {
				if hold.Token() <= w.latest[queue] {
					w.fail("%s: granted token %v after %v", x.id, hold.Token(), w.latest[queue])
				}
				w.latest[queue] = hold.Token()
			}
		}
	}
}

// taken returns the weight of those who hold in a queue. mu must be held.
func (w *familyWorld) taken(queue string) (sum int) {
	for _, x := range w.all {
		if x.hold != nil && x.hold.Err() == nil && !x.overrule {
			sum += w.asks[x].weights[queue]
		}
	}
	return sum
}

// unlock releases a lock that is held, and then calls next for the same client.
func (w *familyWorld) unlock(ctx context.Context, pick int, next func(by int)) {
	x := w.pick(pick, func(x *acquisition) bool { return x.hold != nil && x.hold.Err() == nil })
	if x == nil {
		return
	}
	w.note("unlock")
	x.leaving = true
	w.inStep.Go(func() {
		if err := x.hold.Unlock(ctx); err != nil && (ctx.Err() == nil || !errors.Is(err, ctx.Err())) {
			w.refuse(x, err)
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

// refuse notes an error to be judged after the step.
func (w *familyWorld) refuse(x *acquisition, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused = append(w.refused, refusal{x, err})
}

// downgrade makes a reader of a writer, if there is one.
func (w *familyWorld) downgrade(pick int) bool {
	x := w.pick(pick, func(x *acquisition) bool {
		return w.opened[x].rw != nil && w.asks[x].weights["lock"] > 1 && x.hold != nil && x.hold.Err() == nil
	})
	if x == nil {
		return false
	}
	w.note("downgrade")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asks[x].weights["lock"] = 1
	was := x.hold
	w.inStep.Go(func() {
		read, err := w.opened[x].rw.Downgrade(w.t.Context(), was)
		if err != nil {
			x.leaving = true
			w.refuse(x, err)
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		x.hold = read
	})
	return true
}

// delete is an operator's, of any entry.
func (w *familyWorld) delete(n int) {
	var all []lock.Entry
	for _, queue := range w.queues() {
		all = append(all, queue...)
	}
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

// queues returns the entries as the server has them.
func (w *familyWorld) queues() map[string][]lock.Entry {
	all := map[string][]lock.Entry{}
	for _, name := range w.kind.names {
		entries, err := lock.Inspect(w.t.Context(), w.observer, name)
		if err != nil {
			w.failf("inspect: %w", err)
		}
		all[name] = entries
	}
	return all
}

// finish has everybody who waits get the lock and leave, and looks for what is left.
func (w *familyWorld) finish() {
	for n := len(w.all) + 1; w.err == nil && n > 0; n-- {
		w.begin()
		w.unlock(w.t.Context(), 0, nil)
		vtime.Advance(settleQuiet + settleChain)
		w.end()
	}
	if w.err == nil {
		vtime.Advance(settleOutage)
		w.end()
	}
	for name, entries := range w.queues() {
		if w.err == nil && len(entries) > 0 {
			w.failf("%d entries are left in %s", len(entries), name)
		}
	}
	for _, x := range w.all {
		x.cancel()
	}
	for _, c := range w.clients {
		if err := c.session.Close(w.t.Context()); err != nil {
			w.failf("close: %w", err)
		}
	}
}
