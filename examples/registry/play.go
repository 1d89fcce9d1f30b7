package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/watch"
)

// afterwards is how many more calls an act watches for what they come to.
const afterwards = 100

// play does things to the fleet and looks at the calls.
type play struct {
	*fleet

	options options
	etcd    *cluster.Cluster
	view    *view
	callers *callers
	results []result
}

// act is one thing that is done.
type act struct {
	name, intro string
	mayFail     int // how many calls
	play        func(context.Context) error
}

// result is what became of the calls meanwhile.
type result struct {
	act

	calls, failed int
	err           error // of the latest that failed
}

// check returns an error if more has failed than may.
func (r *result) check() error {
	if r.failed <= r.mayFail {
		return nil
	}
	return fmt.Errorf("%s: %d calls failed, expected are %d at most; the latest: %w", r.name, r.failed, r.mayFail, r.err)
}

// perform plays all acts.
func (p *play) perform(ctx context.Context) error {
	acts := []act{
		{"three servers", "Three servers register; clients find them and call them in turns.", 0, p.register},
		{"s2 drained", "s2 is drained: it leaves the registry before it goes.", 0, p.drain},
		// Each caller has at most one call under way.
		{"s3 killed", "s3 is killed: its registration disappears when its lease has ended.", p.options.callers, p.kill},
		{"etcd stopped", "etcd is stopped until all leases are lost, and started again.", 0, p.outage},
	}
	if !p.etcd.Embedded() {
		acts = acts[:len(acts)-1]
	}
	var errs []error
	for i, a := range acts {
		p.view.Begin("%d/%d  %s", i+1, len(acts), a.intro)
		before, _ := p.callers.now()
		if err := a.play(ctx); err != nil {
			return err
		}
		t, _ := p.callers.now()
		t = t.since(before)
		r := result{act: a, calls: t.calls(), failed: t.failed, err: t.err}
		p.results = append(p.results, r)
		errs = append(errs, r.check())
	}
	if !p.etcd.Embedded() {
		p.view.Tell(p.view.Styles.Dim, "(A last part stops etcd, which is left to the embedded one.)")
	}
	return errors.Join(errs...)
}

// register starts servers, and then the callers.
func (p *play) register(ctx context.Context) error {
	for _, s := range []struct{ name, zone, version string }{{"s1", "a", "1.0"}, {"s2", "b", "1.0"}, {"s3", "a", "1.1"}} {
		if err := p.add(ctx, s.name, s.zone, s.version); err != nil {
			return err
		}
	}
	p.callers.start(ctx, p.options.callers)
	return p.takeTurns(ctx, "s1", "s2", "s3")
}

// add starts a server and waits until it is in the directory.
func (p *play) add(ctx context.Context, name, zone, version string) error {
	if err := p.start(name, zone, version); err != nil {
		return err
	}
	item, err := p.awaitKey(ctx, name, isThere)
	if err == nil {
		i := item.Value
		p.say(lipgloss.Style{}, "%s registers: %s, zone %s, version %s", name, i.Addr, i.Metadata.Zone, i.Metadata.Version)
	}
	return err
}

// takeTurns waits for more calls, of which each of the servers answers some, and says
// how many. Nobody else answers, but for what is on its way as it begins.
func (p *play) takeTurns(ctx context.Context, names ...string) error {
	before, _ := p.callers.now()
	err := p.callers.await(ctx, before, func(t tally) bool {
		for _, name := range names {
			if t.by[name] < afterwards/len(names) {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	t, _ := p.callers.now()
	t = t.since(before)
	text, others := "", t.calls()-t.failed
	for _, name := range names {
		text += fmt.Sprintf(", %d by %s", t.by[name], name)
		others -= t.by[name]
	}
	p.say(p.view.Styles.Good, "%d calls%s", t.calls(), text)
	if others > p.options.callers {
		return fmt.Errorf("%d calls were answered by others", others)
	}
	return nil
}

// drain has the second server leave in good order.
func (p *play) drain(ctx context.Context) error {
	if err := p.servers[1].Send(drain); err != nil {
		return err
	}
	if _, err := p.awaitKey(ctx, "s2", isGone); err != nil {
		return err
	}
	p.say(p.view.Styles.Title, "s2 is taken out of the registry")
	e, err := p.await(ctx, "the end of s2", func(e event) bool { return e.Server == "s2" && e.Kind == left })
	if err != nil {
		return err
	}
	p.servers[1].Ask()
	p.say(lipgloss.Style{}, "s2 served for another %s and stops; it answered %d calls that came meanwhile", drainGrace, e.Calls)
	return p.takeTurns(ctx, "s1", "s3")
}

// kill kills the third server, and starts another.
func (p *play) kill(ctx context.Context) error {
	for _, name := range []string{"s1", "s3"} { // on a busy machine leases end
		if _, err := p.awaitKey(ctx, name, isThere); err != nil {
			return err
		}
	}
	before, _ := p.callers.now()
	began := time.Now()
	if err := p.servers[2].Kill(); err != nil {
		return err
	}
	p.say(p.view.Styles.Title, "s3 is killed (SIGKILL)")
	if _, err := p.awaitKey(ctx, "s3", isGone); err != nil {
		return err
	}
	t, _ := p.callers.now()
	t = t.since(before)
	p.say(lipgloss.Style{}, "s3 disappears, %s after the kill (TTL %s)", screen.Short(time.Since(began)), p.options.ttl)
	p.say(lipgloss.Style{}, "%d calls meanwhile, %d failed: at most those that it was answering", t.calls(), t.failed)
	if err := p.add(ctx, "s4", "b", "1.1"); err != nil {
		return err
	}
	if err := p.callers.await(ctx, before, func(t tally) bool { return t.by["s4"] > 0 }); err != nil {
		return err
	}
	return p.takeTurns(ctx, "s1", "s4")
}

// outage stops etcd until both servers have lost their leases.
func (p *play) outage(ctx context.Context) error {
	names := []string{"s1", "s4"}
	before, _ := p.callers.now()
	stopped := process.Now()
	if err := p.etcd.Stop(); err != nil {
		return err
	}
	p.say(p.view.Styles.Title, "etcd is stopped")
	lose := make(map[string]bool)
	_, err := p.await(ctx, "the loss of both leases", func(e event) bool {
		if e.Kind == lost && e.At > stopped && !lose[e.Server] {
			lose[e.Server] = true
			p.say(lipgloss.Style{}, "%s has lost its lease, and goes on answering", e.Server)
		}
		return len(lose) == len(names)
	})
	if err != nil {
		return err
	}
	t, _ := p.callers.now()
	t = t.since(before)
	p.say(lipgloss.Style{}, "%d calls meanwhile, %d failed: clients go on with what they know", t.calls(), t.failed)
	return p.comeBack(ctx, names)
}

// comeBack starts etcd again and waits for the registrations.
func (p *play) comeBack(ctx context.Context, names []string) error {
	old := p.directory.Snapshot()
	if err := p.etcd.Restart(ctx); err != nil {
		return err
	}
	began := time.Now()
	p.say(p.view.Styles.Title, "etcd is started again, with the data that it had")
	for _, name := range names {
		item, _ := old.Get(p.prefix + name)
		_, err := p.awaitKey(ctx, name, func(i watch.Item[instance], exists bool) bool { return exists && i.Lease != item.Lease })
		if err != nil {
			return err
		}
		p.say(lipgloss.Style{}, "%s is registered under a new lease, %s later", name, screen.Short(time.Since(began)))
	}
	return p.takeTurns(ctx, names...)
}

func (p *play) say(style lipgloss.Style, format string, args ...any) {
	p.view.Tell(style, format, args...)
}
