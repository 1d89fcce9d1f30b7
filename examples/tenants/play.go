package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"charm.land/lipgloss/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
)

// triesShown is how often a product fails before it is allowed.
const triesShown = 4

// play changes what is wanted and allowed.
type play struct {
	*crew

	want map[string]int // instances, by key
}

func openPlay(ctx context.Context, failed context.CancelCauseFunc, c *cluster.Cluster, o options, v *screen.Acts) (*play, error) {
	cr, err := openCrew(ctx, failed, c, o, v)
	return &play{crew: cr, want: make(map[string]int)}, err
}

// perform plays all acts, and makes sure of what they have come to.
func (p *play) perform(ctx context.Context) error {
	acts := []struct {
		intro string
		play  func(context.Context) error
	}{
		{"Three replicas: one is elected and brings about what two tenants want.", p.elect},
		{"Policies change; pushes come twice, in the wrong order, or not at all.", p.change},
		{"More is wanted than allowed: tried again, less and less often.", p.exceed},
		{"The leader is killed: the next begins with all there is.", p.kill},
	}
	for i, a := range acts {
		p.view.Begin("%d/%d  %s", i+1, len(acts), a.intro)
		if err := a.play(ctx); err != nil {
			return err
		}
	}
	return p.check(ctx)
}

// wish changes what is wanted of some products of a tenant, all in one transaction.
func (p *play) wish(ctx context.Context, tenant string, products map[string]int) error {
	var ops []clientv3.Op
	for name, n := range products {
		key := p.job.Root.wanted(tenant, name)
		p.want[key] = n
		if n == 0 {
			ops = append(ops, clientv3.OpDelete(key))
		} else {
			ops = append(ops, clientv3.OpPut(key, product{Instances: n}.json()))
		}
	}
	_, err := p.client.Txn(ctx).Then(ops...).Commit()
	return err
}

// awaitWishes waits until all is as wanted.
func (p *play) awaitWishes(ctx context.Context) error {
	return p.await(ctx, "what is wanted", func() bool {
		for key, n := range p.want {
			if p.has[key] != n {
				return false
			}
		}
		return true
	})
}

// elect has the first replica find everything to do.
func (p *play) elect(ctx context.Context) error {
	tenants := []string{"acme", "globex"}
	for _, tenant := range tenants {
		if _, err := p.publish(ctx, tenant, 3); err != nil {
			return err
		}
		if err := p.wish(ctx, tenant, map[string]int{"mail": 1, "search": 3, "wiki": 2}); err != nil {
			return err
		}
	}
	for _, name := range []string{"r1", "r2", "r3"} {
		if err := p.start(ctx, name); err != nil {
			return err
		}
	}
	if err := p.awaitWishes(ctx); err != nil {
		return err
	}
	// What it has read it reports by another way, which may take longer.
	err := p.await(ctx, "the policies", func() bool {
		return p.knows[about{p.leader, tenants[0]}] > 0 && p.knows[about{p.leader, tenants[1]}] > 0
	})
	if err != nil {
		return err
	}
	reads := 0
	for _, n := range p.missed {
		reads += n
	}
	p.say(p.view.Styles.Title, "%d products of %d tenants, %d at a time: %d policies read", len(p.want), len(tenants), runners, reads)
	return nil
}

// change has the replicas hear of policies as networks have it.
func (p *play) change(ctx context.Context) error {
	var versions []stated
	for limit := range 3 {
		s, err := p.publish(ctx, "acme", 4+limit)
		if err != nil {
			return err
		}
		versions = append(versions, s)
	}
	p.say(p.view.Styles.Title, "acme: versions %d, %d, %d are pushed as 3rd, 1st, 2nd, 3rd",
		versions[0].Version, versions[1].Version, versions[2].Version)
	order := []int{2, 0, 1, 2}
	heard := p.pushes["acme"] + len(order)*len(p.replicas)
	for _, i := range order {
		if err := p.push(versions[i]); err != nil {
			return err
		}
	}
	err := p.await(ctx, "the pushes", func() bool { return p.pushes["acme"] == heard && p.know(versions[2]) })
	if err != nil {
		return err
	}
	s, err := p.publish(ctx, "globex", 5)
	if err != nil {
		return err
	}
	p.say(p.view.Styles.Title, "globex: version %d, and the push is lost", s.Version)
	return p.await(ctx, "a pull by all", func() bool { return p.know(s) })
}

// exceed wants more than a policy allows, and then changes the policy.
func (p *play) exceed(ctx context.Context) error {
	const more = 9
	if err := p.wish(ctx, "globex", map[string]int{"search": more}); err != nil {
		return err
	}
	key := p.job.Root.wanted("globex", "search")
	if err := p.await(ctx, "several tries", func() bool { return p.refused[key] >= triesShown }); err != nil {
		return err
	}
	s, err := p.publish(ctx, "globex", more)
	if err != nil {
		return err
	}
	p.say(p.view.Styles.Title, "globex: version %d allows %d, pushed", s.Version, more)
	if err := p.push(s); err != nil {
		return err
	}
	return p.awaitWishes(ctx)
}

// kill kills the leader, and changes what is wanted while nobody leads.
func (p *play) kill(ctx context.Context) error {
	old, began := p.leader, time.Now()
	i := slices.IndexFunc(p.replicas, func(r *process.Process) bool { return r.Name() == old })
	if err := p.replicas[i].Kill(); err != nil {
		return err
	}
	p.say(p.view.Styles.Title, "%s, which leads, is killed (SIGKILL)", old)
	if err := p.wish(ctx, "acme", map[string]int{"mail": 2, "wiki": 0}); err != nil {
		return err
	}
	p.say(lipgloss.Style{}, "acme wants mail 2, and wiki no more")
	if err := p.await(ctx, "another leader", func() bool { return p.leader != old }); err != nil {
		return err
	}
	p.say(lipgloss.Style{}, "... %s after the kill (TTL %s)", screen.Short(time.Since(began)), p.job.TTL)
	return p.awaitWishes(ctx)
}

// check compares what is with what was wanted, in etcd itself.
func (p *play) check(ctx context.Context) error {
	resp, err := p.client.Get(ctx, p.job.Root.running(), clientv3.WithPrefix())
	if err == nil {
		err = p.world.WaitRevision(ctx, resp.Header.Revision)
	}
	if err != nil {
		return err
	}
	var errs []error
	for key, n := range p.want {
		if item, _ := p.world.Get(p.job.Root.actual(key)); item.Value.Instances != n {
			errs = append(errs, fmt.Errorf("%s: %d are running, wanted are %d", key, item.Value.Instances, n))
		}
	}
	if len(errs) == 0 {
		p.view.Printf("\n%d products are as they should be.\n", len(resp.Kvs))
	}
	return errors.Join(errs...)
}
