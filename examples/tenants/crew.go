package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/watch"
)

const (
	// patience is how long anything may take, beyond three TTLs and pulls.
	patience = 20 * time.Second
	// mostEvents is more than replicas report while nobody listens.
	mostEvents = 10000
)

// crew is the replicas, what they have reported, and the way to change what they
// should do.
type crew struct {
	job      job // of each, but for the name
	view     *screen.Acts
	client   *clientv3.Client
	world    *watch.Cache[product] // as it is
	watching sync.WaitGroup        // ends with world
	events   chan event
	failed   context.CancelCauseFunc // called when a replica ends that was not asked to
	replicas []*process.Process

	leader  string
	has     map[string]int  // instances, by the key of the product as it should be
	knows   map[about]int64 // the version
	missed  map[about]int   // reads because somebody asked
	pushes  map[string]int  // heard, by tenant
	refused map[string]int  // failures, by the key of the product
	stands  map[string]bool // for election, by replica
}

// about is what a replica knows of a tenant.
type about struct{ replica, tenant string }

// openCrew returns one without replicas. The caller closes it.
func openCrew(ctx context.Context, failed context.CancelCauseFunc, c *cluster.Cluster, o options, v *screen.Acts) (*crew, error) {
	client, err := c.Spec().Dial()
	if err != nil {
		return nil, err
	}
	cr := &crew{
		job:  job{Root: root(o.prefix), TTL: o.ttl, Pull: o.pull, Etcd: c.Spec()},
		view: v, client: client, events: make(chan event, mostEvents), failed: failed,
		has: make(map[string]int), knows: make(map[about]int64), missed: make(map[about]int),
		pushes: make(map[string]int), refused: make(map[string]int), stands: make(map[string]bool),
	}
	if cr.world, err = openProducts(ctx, client, cr.job.Root.running()); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	cr.watching.Go(func() { cr.watch(context.WithoutCancel(ctx)) })
	return cr, nil
}

// watch reports what becomes of the world, until that is closed.
func (c *crew) watch(ctx context.Context) {
	for change, err := range c.world.Changes(ctx) {
		if err != nil {
			return
		}
		e := event{Kind: seen, Key: c.job.Root.info() + strings.TrimPrefix(change.Key, c.job.Root.running())}
		if !change.Deleted {
			e.Instances, e.Term = change.Item.Value.Instances, change.Item.Value.Term
		}
		c.events <- e
	}
}

// start starts a replica and waits until it stands for election.
func (c *crew) start(ctx context.Context, name string) error {
	j := c.job
	j.Name = name
	p, err := process.Start(name, replicaRole, j, func(e event) { c.events <- e }, func(detail string) {
		if detail != "" {
			c.failed(errors.New("replica " + detail))
		}
	})
	if err != nil {
		return err
	}
	c.replicas = append(c.replicas, p)
	return c.await(ctx, name, func() bool { return c.stands[name] })
}

// await waits until what the replicas have reported meets a condition.
func (c *crew) await(ctx context.Context, what string, cond func() bool) error {
	if cond() {
		return nil
	}
	limit := patience + 3*c.job.TTL + 3*c.job.Pull
	_, err := workers.Await(ctx, c.next, limit, what, func(event) bool { return cond() })
	return err
}

// next takes the next report and tells it.
func (c *crew) next(ctx context.Context) (e event, err error) {
	select {
	case e = <-c.events:
	case <-ctx.Done():
		return e, context.Cause(ctx)
	}
	key := about{e.Replica, e.Stated.Tenant}
	switch e.Kind {
	case ready:
		c.stands[e.Replica] = true
	case leads:
		c.leader = e.Replica
		c.say(c.view.Styles.Good, "%s is elected, term %s", e.Replica, e.Term)
	case seen:
		c.sees(e)
	case failed:
		c.refused[e.Key]++
		tenant, name := c.job.Root.split(e.Key)
		c.say(c.view.Styles.Bad, "%s cannot see to %s/%s: %s", e.Replica, tenant, name, e.Detail)
	case learned:
		err = c.learns(key, e)
		c.say(lipgloss.Style{}, "%s learns version %d of %s, %s", e.Replica, e.Stated.Version, e.Stated.Tenant, e.From)
	case ignored:
		c.say(c.view.Styles.Dim, "%s ignores version %d of %s, %s", e.Replica, e.Stated.Version, e.Stated.Tenant, e.From)
	}
	if e.From == pushed {
		c.pushes[e.Stated.Tenant]++
	}
	return e, err
}

// sees takes note of the world.
func (c *crew) sees(e event) {
	c.has[e.Key] = e.Instances
	tenant, name := c.job.Root.split(e.Key)
	if e.Instances == 0 {
		c.say(lipgloss.Style{}, "%s/%s is stopped", tenant, name)
	} else {
		c.say(lipgloss.Style{}, "%s/%s has %d running, by order of term %s", tenant, name, e.Instances, e.Term)
	}
}

// learns takes note of what a replica believes, and finds out if it should not.
func (c *crew) learns(key about, e event) error {
	if e.Stated.Version <= c.knows[key] {
		return fmt.Errorf("%s has gone back from version %d to %d", e.Replica, c.knows[key], e.Stated.Version)
	}
	c.knows[key] = e.Stated.Version
	if e.From == missed {
		c.missed[key]++
	}
	if c.missed[key] > 1 {
		return fmt.Errorf("%s has read the policy of %s twice", e.Replica, key.tenant)
	}
	return nil
}

// know reports whether all replicas know a version, or a later one.
func (c *crew) know(s stated) bool {
	for _, p := range c.replicas {
		if c.knows[about{p.Name(), s.Tenant}] < s.Version {
			return false
		}
	}
	return true
}

// publish stores a policy. Nobody is told.
func (c *crew) publish(ctx context.Context, tenant string, limit int) (stated, error) {
	s := stated{Tenant: tenant, Policy: &policy{limit}}
	text, err := json.Marshal(s.Policy)
	if err != nil {
		return s, err
	}
	resp, err := c.client.Put(ctx, c.job.Root.policies()+tenant, string(text))
	if err == nil {
		s.Version = resp.Header.Revision
	}
	return s, err
}

// push tells every replica of a policy.
func (c *crew) push(s stated) error {
	line, err := json.Marshal(s)
	for _, p := range c.replicas {
		err = errors.Join(err, p.Send(string(line)))
	}
	return err
}

func (c *crew) say(style lipgloss.Style, format string, args ...any) {
	c.view.Tell(style, format, args...)
}

// close lets the replicas that are left end in good order and waits for them.
func (c *crew) close(ctx context.Context) error {
	err := workers.Quit(c.replicas...)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err = errors.Join(err, c.world.Close(ctx))
	c.watching.Wait()
	return errors.Join(err, c.client.Close())
}
