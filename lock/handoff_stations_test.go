package lock_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

type stationProcess struct {
	opts    []lock.Option
	local   bool // its goroutines share one entry
	client  *clientv3.Client
	cut     *vtime.Cut
	session *lease.Session
	losses  atomic.Int64 // leases lost

	before    atomic.Int64 // losses before the step
	closed    atomic.Bool  // in this step
	overruled atomic.Bool  // by an operator, in this step
}

// disturbed reports whether entries of the process may have gone without its doing.
func (p *stationProcess) disturbed() bool {
	return p.overruled.Load() || p.closed.Load() || p.losses.Load() > p.before.Load()
}

// stationCall is a call of Lock or TryLock, and what became of it.
type stationCall struct {
	by       int
	try      bool
	cancel   context.CancelFunc
	hold     *lock.Hold
	err      error
	done     bool // hold or err is set
	canceled bool
}

func (x *stationCall) holds() bool { return x.hold != nil && x.hold.Err() == nil }

func (w *stations) join(p *stationProcess) {
	var err error
	p.session, err = lease.NewSession(w.t.Context(), p.client, lease.WithTTL(modelTTL),
		lease.WithObserver(lease.Observer{Lost: func(*lease.Lease, error) { p.losses.Add(1) }}))
	p.closed.Store(false)
	w.check(err, "new session")
}

func (w *stations) call(x *stationCall) {
	p := w.all[x.by]
	m, err := lock.NewMutex(p.session, "lock", p.opts...)
	w.check(err, "new mutex")
	if err != nil {
		return
	}
	take := m.Lock
	if x.try {
		take = m.TryLock
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	x.cancel = cancel
	w.mu.Lock()
	w.calls = append(w.calls, x)
	w.mu.Unlock()
	go func() {
		hold, err := take(ctx)
		w.came(x, hold, err)
	}()
	synctest.Wait() // so that the next to call comes after it
}

// came takes note of a call's outcome and checks it against the holds there are.
func (w *stations) came(x *stationCall, hold *lock.Hold, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x.hold, x.err, x.done = hold, err, true
	if err != nil {
		return
	}
	w.happened["granted"]++
	if hold.Token().Sequence() > 0 {
		w.happened["handed on"]++
	}
	for _, y := range w.calls {
		if y == x {
			break
		}
		// One whose context has ended may be on its way out.
		if p := w.all[x.by]; y.by == x.by && p.local && !x.try && !y.done && !y.canceled && !p.disturbed() {
			w.fail("%d: served before one who came earlier", x.by)
		}
	}
	if w.all[x.by].overruled.Load() {
		return
	}
	if hold.Token() <= w.highest {
		w.fail("%d: granted token %v after %v", x.by, hold.Token(), w.highest)
	}
	w.highest = hold.Token()
	for _, y := range w.calls {
		if y != x && y.holds() && !w.all[y.by].overruled.Load() {
			w.fail("%d: granted %v while %d holds %v", x.by, hold.Token(), y.by, y.hold.Token())
		}
	}
}

// unlock releases the lock if it is held.
func (w *stations) unlock(ctx context.Context) {
	x := w.pick(0, (*stationCall).holds)
	if x == nil {
		return
	}
	w.note("unlock")
	w.inStep.Go(func() {
		err := x.hold.Unlock(ctx)
		lost := errors.Is(err, lock.ErrLost) || errors.Is(err, lease.ErrLost) || errors.Is(err, lease.ErrClosed)
		if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) || lost && w.all[x.by].disturbed() {
			return
		}
		// The loss may have yet to be told.
		vtime.Sleep(time.Millisecond)
		if !lost || !w.all[x.by].disturbed() {
			w.check(err, "unlock")
		}
	})
	synctest.Wait()
	if x.hold.Err() == nil {
		w.check(errors.New("still held"), "after Unlock was called")
	}
}

// delete is an operator's, of any entry.
func (w *stations) delete(n int) {
	queue := w.queue()
	if len(queue) == 0 {
		return
	}
	e := queue[n%len(queue)]
	w.operate("delete", w.all[e.Owner[0]-'0'])
	_, err := w.observer.Delete(w.t.Context(), e.Key)
	w.check(err, "delete")
}

// revoke is an operator's, of a process's lease.
func (w *stations) revoke(p *stationProcess) {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Millisecond)
	defer cancel()
	if l, err := p.session.Lease(ctx); err == nil {
		w.operate("revoke", p)
		_, _ = w.observer.Revoke(w.t.Context(), l.ID()) // it may have just expired
	}
}

func (w *stations) operate(what string, p *stationProcess) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.happened[what]++
	w.operated = true
	p.overruled.Store(true)
}

func (w *stations) close(p *stationProcess) {
	if p.closed.Swap(true) {
		return
	}
	w.note("close")
	w.inStep.Go(func() {
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		_ = p.session.Close(ctx) // it goes on in the background
	})
	synctest.Wait()
}

func (w *stations) queue() []lock.Entry {
	all, err := lock.Inspect(w.t.Context(), w.observer, "lock")
	w.check(err, "inspect")
	return all
}
