package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/chaos/worker"
	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/process"
)

const (
	// resetEvery is how often connections are reset.
	resetEvery = 200 * time.Millisecond
	// comeBack is what one who waits and was cut off has to find out about that.
	comeBack = time.Second
)

// strike does the step's fault to the worker, and undoes it.
func (g *target) strike(ctx context.Context) error {
	switch g.step.Fault {
	case pause:
		return g.pause(ctx)
	case stall:
		return g.stall(ctx)
	case kill:
		return g.kill(ctx)
	case cutQueue:
		return g.cutWaiting(ctx)
	case revoke, remove:
		return g.overrule(ctx)
	case slowClock:
		return g.slowClock(ctx)
	case killPlanner:
		return g.killPlanner(ctx)
	default:
		return g.breakNetwork(ctx)
	}
}

// pause stops the worker at its point, for longer than its lock lasts.
func (g *target) pause(ctx context.Context) error {
	p := g.hand.current()
	g.begun(g.hand, "")
	if err := p.Pause(ctx); err != nil {
		return errors.Join(err, p.Resume()) // it may stop after all
	}
	g.died(process.Now())
	err := g.proceed(ctx, g.step.For)
	g.ended(g.hand)
	return errors.Join(err, p.Resume())
}

// stall stops workers, one after another, for moments.
func (g *target) stall(ctx context.Context) error {
	over := time.Now().Add(g.step.For)
	for i := g.step.Worker; time.Now().Before(over); i++ {
		h := g.hands[i%len(g.hands)]
		g.note(history.Event{Kind: history.Begun, Fault: stall, Worker: h.name()})
		err := h.current().Pause(ctx)
		if err == nil {
			err = pass(ctx, g.step.Size)
		}
		g.ended(h)
		if err = errors.Join(err, h.current().Resume()); err != nil {
			return err
		}
		if err := pass(ctx, g.step.Size/2); err != nil {
			return err
		}
	}
	return nil
}

// kill kills the worker, waits until another has the lock, and replaces it.
func (g *target) kill(ctx context.Context) error {
	g.begun(g.hand, "")
	g.died(process.Now())
	p := g.hand.current()
	if err := p.Kill(); err != nil {
		return err
	}
	p.Wait()
	err := g.await(ctx, "a grant after the death of a holder", 1)
	g.ended(g.hand)
	return errors.Join(err, g.hand.start())
}

// breakNetwork does something to the worker's network while it keeps the lock.
func (g *target) breakNetwork(ctx context.Context) error {
	do := map[string]func(*netfault.Proxy){
		cut: (*netfault.Proxy).Blackhole, cutOut: (*netfault.Proxy).BlackholeToServer, cutIn: (*netfault.Proxy).BlackholeToClient,
		vanish: (*netfault.Proxy).HalfOpen, reset: (*netfault.Proxy).Reset,
		delay: func(p *netfault.Proxy) { p.Delay(g.step.Size) },
	}[g.step.Fault]
	if do == nil {
		return fmt.Errorf("chaos: nobody knows how to do %q to a worker", g.step.Fault)
	}
	g.begun(g.hand, "")
	g.hand.each(do)
	g.hand.tell(worker.Go)
	for left := g.step.For; left > 0; left -= resetEvery {
		if err := pass(ctx, min(left, resetEvery)); err != nil {
			return err
		}
		if g.step.Fault == reset {
			g.hand.each(do)
		}
	}
	g.ended(g.hand)
	g.hand.heal()
	if faults()[g.step.Fault].class != partition {
		return nil
	}
	return g.bury(ctx)
}

// slowClock lets the holder's clock run slow while it is cut off.
func (g *target) slowClock(ctx context.Context) error {
	g.hand.tell(worker.Rate(g.step.Percent / 100))
	g.step.Fault = cut
	defer func() {
		g.step.Fault = slowClock
		g.hand.tell(worker.Rate(1))
	}()
	return g.breakNetwork(ctx)
}

// bury notes the death of a holder that was cut off: when it was told of its loss, which
// on a busy machine may have been before.
func (g *target) bury(ctx context.Context) error {
	if g.System.Control || g.reached.Hold == "" { // who may never be told, and nobody
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, hang, fmt.Errorf("%s was not told of its loss within %s", g.hand.name(), hang))
	defer cancel()
	e, err := await(ctx, g.log, g.reached.Worker, 0, func(e history.Event) bool {
		return e.Kind == history.Told && e.Lock == g.reached.Lock && e.Hold == g.reached.Hold
	})
	if err == nil {
		g.died(e.At)
	}
	return err
}

// cutWaiting cuts off one who waits, past its TTL, while the holder stays; lets it
// come back; and has the holder leave.
func (g *target) cutWaiting(ctx context.Context) error {
	waiter := g.hands[(g.hand.index+1)%len(g.hands)]
	name := waiter.name()
	// Its own events: what others report of it comes later.
	own := func(e history.Event) bool { return e.Worker == name && (e.PID != 0 || e.Kind == history.Exited) }
	limited, cancel := context.WithTimeoutCause(ctx, hang, fmt.Errorf("%s does not wait within %s", name, hang))
	defer cancel()
	g.hand.tell(worker.Go)
	for { // it may have to finish a section first
		mark := g.log.Mark()
		e, _ := g.log.Last(own)
		if e.Kind == history.Wants {
			break
		}
		if e.Kind == history.Exited {
			return fmt.Errorf("%s has ended", name)
		}
		if _, err := g.log.Await(limited, mark, own); err != nil {
			return err
		}
	}
	if err := pass(ctx, comeBack/5); err != nil { // for its entry to be there
		return err
	}
	g.begun(waiter, "")
	waiter.each((*netfault.Proxy).Blackhole)
	err := pass(ctx, g.step.For)
	g.ended(waiter)
	waiter.heal()
	return errors.Join(err, pass(ctx, comeBack))
}

// overrule takes the lock from the holder, as an operator might.
func (g *target) overrule(ctx context.Context) error {
	granted, ok := g.log.Last(func(e history.Event) bool {
		return e.Kind == history.Granted && e.Lock == g.reached.Lock && e.Hold == g.reached.Hold
	})
	if !ok {
		return fmt.Errorf("no grant of %s", g.reached.Hold)
	}
	client := g.etcd.Client()
	resp, err := client.Get(ctx, granted.Key)
	if err != nil {
		return err
	}
	if len(resp.Kvs) == 0 {
		return fmt.Errorf("%s is gone", granted.Key)
	}
	g.begun(g.hand, history.Overrules)
	if g.step.Fault == revoke {
		_, err = client.Revoke(ctx, clientv3.LeaseID(resp.Kvs[0].Lease))
	} else {
		_, err = client.Delete(ctx, granted.Key)
	}
	if err != nil {
		return err
	}
	err = g.proceed(ctx, g.step.For)
	g.ended(g.hand)
	return err
}
