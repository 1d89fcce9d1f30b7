package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/shard"
)

const (
	// patience is how long the stage waits for the shards to settle.
	patience = 40 * time.Second
	// closeTimeout bounds the clean-up.
	closeTimeout = 10 * time.Second
)

// stage is where members come and go.
type stage struct {
	options options
	cluster *cluster.Cluster
	view    *screen.Acts
	ledger  *ledger
	client  *clientv3.Client
	router  *shard.Router
	members map[string]*peer // who is alive, or should be
	proxy   *netfault.Proxy  // before etcd, of the member that is to be cut off
	failed  func(error)      // ends the show when a member cannot go on
}

// peer is a member, as if it were a process of its own.
type peer struct {
	client *clientv3.Client
	leave  context.CancelFunc
	left   chan error // its serve's result
}

// openStage returns a stage without members. The caller closes it.
func openStage(c *cluster.Cluster, o options, v *screen.Acts, failed func(error)) (*stage, error) {
	client, err := c.Spec().Dial()
	s := &stage{options: o, cluster: c, view: v, ledger: newLedger(), client: client, members: make(map[string]*peer), failed: failed}
	return s, err
}

// close ends all members, and what the stage has.
func (s *stage) close() error {
	if s.proxy != nil {
		s.proxy.Heal()
	}
	for _, p := range s.members {
		p.leave() // all at once
	}
	var errs []error
	for name := range maps.Clone(s.members) {
		errs = append(errs, s.leave(name))
	}
	if s.proxy != nil {
		errs = append(errs, s.proxy.Close())
	}
	if s.router != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		errs = append(errs, s.router.Close(ctx))
	}
	return errors.Join(append(errs, s.client.Close())...)
}

// join has one more member.
func (s *stage) join(ctx context.Context) (err error) {
	name, spec := fmt.Sprintf("m%d", len(s.members)+1), s.cluster.Spec()
	if name == cutOff {
		if s.proxy, spec, err = s.cluster.Proxy(); err != nil {
			return err
		}
	}
	p := &peer{left: make(chan error, 1)}
	if p.client, err = spec.Dial(); err != nil {
		return err
	}
	ctx, p.leave = context.WithCancel(context.WithoutCancel(ctx))
	own := s.ledger.noting(name, counting(p.client, s.options.group))
	go func() { // ends with ctx; leave waits for it
		err := serve(ctx, p.client, s.options.group, name, s.options.ttl, own, shard.WithShards(s.options.shards), shard.WithValue("10.0.0."+name[1:]))
		if ctx.Err() == nil {
			s.failed(fmt.Errorf("%s: %w", name, err))
		}
		p.left <- err
	}()
	s.members[name] = p
	return nil
}

// leave has a member leave in good order.
func (s *stage) leave(name string) error {
	p := s.members[name]
	delete(s.members, name)
	p.leave()
	return errors.Join(<-p.left, p.client.Close())
}

// alive returns the names of the members, without some.
func (s *stage) alive(but ...string) []string {
	var names []string
	for n := range s.members {
		if !slices.Contains(but, n) {
			names = append(names, n)
		}
	}
	return slices.Sorted(slices.Values(names))
}

// owners returns who owns each shard.
func (s *stage) owners() []string {
	found := make([]string, s.options.shards)
	for id := range found {
		route, _ := s.router.Owner(shard.ID(id))
		found[id] = route.Member
	}
	return found
}

// settle waits until each of these members has its share, as planned, and nobody else has
// any.
func (s *stage) settle(ctx context.Context, members []string) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the shards have not settled within %s", patience))
	defer cancel()
	if s.router == nil {
		if s.router, err = shard.NewRouter(ctx, s.client, s.options.group); err != nil {
			return program.CauseOr(ctx, err)
		}
	}
	for _, err := range s.router.Changes(ctx) {
		if err != nil {
			return program.CauseOr(ctx, err)
		}
		if owners := s.owners(); s.even(owners, members) {
			return s.ledger.await(ctx, owners)
		}
	}
	return context.Cause(ctx)
}

// even reports whether each of these members has its share, and nobody else any.
func (s *stage) even(owners, members []string) bool {
	has := loads(owners)
	for _, n := range members {
		if has[n] != s.options.shards/len(members) && has[n] != (s.options.shards-1)/len(members)+1 {
			return false
		}
	}
	return len(has) == len(members)
}

// loads counts what each has.
func loads(owners []string) map[string]int {
	has := make(map[string]int)
	for _, m := range owners {
		has[m]++
	}
	return has
}
