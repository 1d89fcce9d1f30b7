package lock_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// stationLinger is longer than a quiet step takes to settle.
const stationLinger = 2 * settleQuiet

// stationOptions are those of the processes in the model: one of each sort.
var stationOptions = [][]lock.Option{
	{lock.WithLocalHandoff(2)},
	{lock.WithLocalHandoff(1), lock.WithLinger(stationLinger)},
	{lock.WithLinger(stationLinger)},
	nil,
}

// GoString is what rapid prints.
func (a action) GoString() string {
	return fmt.Sprintf("%v: %d %s #%d", a.After, a.Client, a.Do, a.Pick)
}

func drawStations(t *rapid.T) scenario {
	return style{
		clients: len(stationOptions), actions: 5, after: 300, outages: 8, steps: 6, chapters: 4,
		do: []string{
			"lock", "lock", "lock", "lock", "lock", "unlock", "unlock", "unlock", "cancel", "try",
			"unlock and leave", "expose", "delete", "revoke", "close",
		},
	}.draw(t)
}

// The model says of each moment at which all is settled: if anybody waits, somebody
// holds; nobody holds but the oldest entry's process; a process that hands on has one
// entry at most, and none if it neither holds, waits nor lingers. And of each grant: no
// other hold is valid, its token is the highest so far, and of the waiters of its process
// it was the first to come.
func TestHandoffAndLingerKeepTheOrderWhateverClientsOperatorsAndTheNetworkDo(t *testing.T) {
	t.Parallel()
	total := make(map[string]int)
	rapid.Check(t, func(rt *rapid.T) {
		script := drawStations(rt)
		var err error
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			w := newStations(t, s, script.Drag)
			w.play(script.Steps)
			w.finish()
			err = w.err
			for what, n := range w.happened {
				total[what] += n
			}
		})
		if err != nil {
			t.Log(err)
			rt.Log(err)
			rt.Fatal("not what the model does") // the same each time, or rapid takes it for another failure
		}
	})
	t.Log(total)
}

// stations is the system under test and what is known about it.
type stations struct {
	t        *testing.T
	observer *clientv3.Client
	all      []*stationProcess
	inStep   sync.WaitGroup // the calls that have to return before the step is over

	mu       sync.Mutex
	err      error // the first deviation
	calls    []*stationCall
	highest  lock.Token
	happened map[string]int
	operated bool // the step has an operator in it
}

func newStations(t *testing.T, s *vtime.Server, seed uint64) *stations {
	t.Helper()
	w := &stations{t: t, observer: s.Client(), happened: make(map[string]int)}
	for i, opts := range stationOptions {
		p := &stationProcess{local: opts != nil, opts: append([]lock.Option{lock.WithOwner(fmt.Sprint(i))}, opts...)}
		p.client, p.cut = s.CutClient(vtime.WithDrag(vtime.NewDrag(seed+uint64(i), mostDrag)))
		w.all = append(w.all, p)
		w.join(p)
	}
	return w
}

func (w *stations) check(err error, what string) {
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fail("%s: %w", what, err)
	}
}

func (w *stations) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.happened[what]++
}

// fail notes the first deviation. mu must be held.
func (w *stations) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// play goes through the steps until one goes wrong.
func (w *stations) play(steps []step) {
	for i, s := range steps {
		w.begin()
		settle, start := settleQuiet, time.Now()
		if s.Outage != nil {
			settle = settleOutage
			w.note("outage")
			cut := w.all[s.Outage.Client].cut
			cutWays[s.Outage.Way].Cut(cut)
			time.AfterFunc(s.Outage.Lasts, cut.Heal)
		}
		slices.SortStableFunc(s.Actions, func(a, b action) int { return int(a.After - b.After) })
		for _, a := range s.Actions {
			vtime.Advance(max(time.Until(start.Add(a.After)), 0))
			w.act(a)
		}
		if w.operated {
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

func (w *stations) begin() {
	w.operated = false
	for _, p := range w.all {
		p.before.Store(p.losses.Load())
		p.overruled.Store(false)
	}
}

func (w *stations) act(a action) {
	done, cancel := context.WithCancel(w.t.Context())
	cancel()
	switch a.Do {
	case "lock":
		w.call(&stationCall{by: a.Client})
	case "try":
		w.call(&stationCall{by: a.Client, try: true})
	case "unlock":
		w.unlock(w.t.Context())
	case "unlock and leave":
		w.unlock(done)
	case "expose":
		if x := w.pick(a.Pick, (*stationCall).holds); x != nil {
			w.note("expose")
			x.hold.Guard()
		}
	case "cancel":
		if x := w.pick(a.Pick, func(x *stationCall) bool { return !x.done }); x != nil {
			w.note("cancel")
			w.mu.Lock()
			x.canceled = true
			w.mu.Unlock()
			x.cancel()
		}
	case "delete":
		w.delete(a.Pick)
	case "revoke":
		w.revoke(w.all[a.Client])
	case "close":
		w.close(w.all[a.Client])
	}
}

// pick returns one of the calls that fit.
func (w *stations) pick(n int, fit func(*stationCall) bool) *stationCall {
	w.mu.Lock()
	defer w.mu.Unlock()
	some := slices.DeleteFunc(slices.Clone(w.calls), func(x *stationCall) bool { return !fit(x) })
	if len(some) == 0 {
		return nil
	}
	return some[n%len(some)]
}

// end checks how things are once all is settled.
func (w *stations) end() {
	w.inStep.Wait()
	queue := w.queue()
	w.mu.Lock()
	defer w.mu.Unlock()
	entries, busy := make([]int, len(w.all)), make([]int, len(w.all))
	for _, e := range queue {
		entries[e.Owner[0]-'0']++
	}
	var holder *stationCall
	waiting := 0
	for _, x := range w.calls {
		w.outcome(x)
		switch {
		case x.holds() && holder != nil:
			w.fail("two hold: %v and %v", holder.hold.Token(), x.hold.Token())
		case x.holds():
			holder = x
			busy[x.by]++
		case !x.done:
			waiting++
			busy[x.by]++
		}
	}
	switch {
	case holder == nil && waiting > 0:
		w.fail("%d wait and nobody holds: %v", waiting, queue)
	case holder != nil && (len(queue) == 0 || queue[0].Key != holder.hold.Key() || queue[0].Token.Revision() != holder.hold.Token().Revision()):
		w.fail("%v holds, and first is %v", holder.hold.Token(), queue)
	}
	for i, p := range w.all {
		most := busy[i]
		if p.local { // one for all of them, or that lingers
			most = 1
		}
		if entries[i] > most {
			w.fail("%d has %d entries for %d users", i, entries[i], busy[i])
		}
		if p.closed.Load() {
			w.mu.Unlock()
			w.join(p)
			w.mu.Lock()
		}
	}
	w.calls = slices.DeleteFunc(w.calls, func(x *stationCall) bool { return x.done && !x.holds() })
}

// outcome checks what a call has returned. mu must be held.
func (w *stations) outcome(x *stationCall) {
	p := w.all[x.by]
	switch {
	case x.canceled && !x.done, x.try && !x.done:
		w.fail("%d: does not return", x.by)
	case x.err == nil:
	case x.canceled && errors.Is(x.err, context.Canceled), p.closed.Load() && errors.Is(x.err, lease.ErrClosed), x.try && errors.Is(x.err, lock.ErrLocked):
	default:
		w.fail("%d: %w", x.by, x.err)
	}
}

// finish has everybody who waits get the lock and leave, and looks for what is left.
func (w *stations) finish() {
	for w.err == nil && len(w.calls) > 0 {
		w.begin()
		w.unlock(w.t.Context())
		vtime.Advance(settleQuiet)
		w.end()
	}
	if w.err == nil {
		vtime.Advance(settleOutage + stationLinger)
		if left := w.queue(); len(left) > 0 {
			w.err = fmt.Errorf("left behind: %v", left)
		}
	}
	for _, x := range w.calls {
		x.cancel()
	}
	for _, p := range w.all {
		w.check(p.session.Close(w.t.Context()), "close")
	}
	left, err := w.observer.Leases(w.t.Context())
	if err != nil || len(left.Leases) > 0 {
		w.check(fmt.Errorf("%v, %w", left, err), "leases are left")
	}
}
