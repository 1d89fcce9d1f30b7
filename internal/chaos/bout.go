package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/chaos/worker"
)

// bout is one entry of a schedule as it is played: several systems under the same steps,
// in step, because a fault of the servers hits all of them.
type bout struct {
	entry  Entry
	named  func(system string) (System, bool)
	arena  *arena
	trials []*trial
	say    func(text string)
	count  func(s System, c class)
}

// open starts all trials. The caller closes them, even when open fails.
func (b *bout) open(ctx context.Context, seed uint64) error {
	made := make([]*trial, len(b.entry.Systems))
	err := together(len(made), func(i int) error {
		s, ok := b.named(b.entry.Systems[i])
		if !ok {
			return fmt.Errorf("chaos: no system %q", b.entry.Systems[i])
		}
		var err error
		made[i], err = newTrial(ctx, b.arena, s, b.entry, seed+uint64(i))
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, made[i].blame(err))
		}
		return nil
	})
	for _, t := range made {
		if t != nil {
			b.trials = append(b.trials, t)
		}
	}
	return err
}

// together does something n times at once, and joins the errors.
func together(n int, do func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// each does something to all trials at once. What goes wrong in one is noted there and
// stops it only.
func (b *bout) each(ctx context.Context, do func(t *trial) error) {
	_ = together(len(b.trials), func(i int) error {
		t := b.trials[i]
		if err := do(t); err != nil && ctx.Err() == nil {
			err = t.blame(err)
			t.note(history.Event{Kind: history.Broken, Detail: err.Error()})
			b.say(t.System.Name + ": " + err.Error())
		}
		return nil
	})
}

// play plays all steps.
func (b *bout) play(ctx context.Context) error {
	for i, step := range b.entry.Steps {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b.say(fmt.Sprintf("%d/%d %s %s", i+1, len(b.entry.Steps), step.Fault, step.For.Round(100*time.Millisecond)))
		if err := b.limited(ctx, step); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, step.Fault, err)
		}
	}
	return context.Cause(ctx)
}

// limited plays one step, which must not take for ever.
func (b *bout) limited(ctx context.Context, step Step) error {
	limit := step.For + 4*hang
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not over within %s", limit))
	defer cancel()
	return errors.Join(b.perform(ctx, step), context.Cause(ctx))
}

// perform plays one step: a worker of each trial comes to the point, the fault begins,
// the worker goes on, the fault ends, and the lock is passed on again. A trial whose worker
// does not come to the point is left out of it.
func (b *bout) perform(ctx context.Context, step Step) error {
	f, ok := faults()[step.Fault]
	if !ok {
		return fmt.Errorf("chaos: no fault %q", step.Fault)
	}
	if step.Fault == failOver {
		if err := b.lag(ctx); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	hit := make(map[*trial]*target)
	b.each(ctx, func(t *trial) error {
		g, err := t.aim(ctx, step)
		mu.Lock()
		defer mu.Unlock()
		hit[t] = g // nil if it was not hit
		return err
	})
	struck := func(do func(g *target) error) {
		b.each(ctx, func(t *trial) error {
			if g := hit[t]; g != nil {
				return do(g)
			}
			return nil
		})
	}
	var heal func(context.Context) error
	if f.server {
		var err error
		if heal, err = b.strike(ctx, step, hit); err != nil {
			return err
		}
	}
	struck(func(g *target) error {
		if f.server {
			return g.proceed(ctx, step.For)
		}
		b.count(g.System, f.class)
		return errors.Join(g.strike(ctx), g.settle(ctx))
	})
	if !f.server {
		return nil
	}
	err := heal(ctx)
	b.ended(step)
	struck(func(g *target) error { return g.settle(ctx) })
	return err
}

// begun notes a fault of the servers in all trials, and counts it once for each kind.
func (b *bout) begun(step Step, detail string) {
	counted := false
	for _, t := range b.trials {
		t.note(history.Event{Kind: history.Begun, Fault: step.Fault, Point: step.Point, Detail: detail})
		if !counted {
			b.count(t.System, faults()[step.Fault].class)
			counted = true
		}
	}
}

func (b *bout) ended(step Step) {
	for _, t := range b.trials {
		t.note(history.Event{Kind: history.Ended, Fault: step.Fault})
	}
}

// target is the worker of a trial that a step is aimed at.
type target struct {
	*trial

	step    Step
	hand    *hand
	reached history.Event // where it waits, if it does
}

// aim lets the worker come to the point of the step. One that does not is not to stop there
// later.
func (t *trial) aim(ctx context.Context, step Step) (*target, error) {
	g := &target{trial: t, step: step, hand: t.hands[step.Worker%len(t.hands)]}
	if step.Point == "" {
		return g, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, hang, fmt.Errorf("%s did not come to %q within %s", g.hand.name(), step.Point, hang))
	defer cancel()
	var err error
	if g.reached, err = g.hand.reach(ctx, step.Point); err != nil {
		g.release()
		return nil, err
	}
	return g, nil
}

// release lets the worker go on from wherever it waits, and not wait there again.
func (g *target) release() {
	g.hand.tell(worker.Go)
	g.hand.tell(worker.Enough)
}

// proceed lets the worker go on, and time pass.
func (g *target) proceed(ctx context.Context, d time.Duration) error {
	g.hand.tell(worker.Go)
	return pass(ctx, d)
}

// settle ends a stay, or the wait of a worker that could not be hit, and returns when the
// lock is passed on again.
func (g *target) settle(ctx context.Context) error {
	g.release()
	return g.await(ctx, "a grant after "+g.step.Fault, 1)
}

// begun and ended note the fault, with the worker that it hits.
func (g *target) begun(h *hand, detail string) {
	g.note(history.Event{Kind: history.Begun, Lock: g.reached.Lock, Fault: g.step.Fault, Worker: h.name(), Hold: g.reached.Hold, Detail: detail})
}

func (g *target) ended(h *hand) {
	g.note(history.Event{Kind: history.Ended, Fault: g.step.Fault, Worker: h.name()})
}

// died notes that the holder is as good as dead since a time, in all its locks.
func (g *target) died(at int64) {
	for _, h := range g.held(g.reached.Worker) {
		g.note(history.Event{At: at, Kind: history.Died, Lock: h.Lock, Worker: h.Worker, Hold: h.Hold})
	}
}

// held returns the grants of what a worker has.
func (t *trial) held(name string) (all []history.Event) {
	for _, lock := range t.locks {
		last, ok := t.log.Last(func(e history.Event) bool {
			return e.Lock == lock && e.Worker == name && slices.Contains([]history.Kind{history.Granted, history.Released}, e.Kind)
		})
		if ok && last.Kind == history.Granted {
			all = append(all, last)
		}
	}
	return all
}

// pass lets time pass.
func pass(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
