package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/watch"
)

// patience is how long the stage waits for the shards to settle.
const patience = 40 * time.Second

// stage is where members come and go.
type stage struct {
	options options
	cluster *cluster.Cluster
	view    *screen.Acts
	ledger  ledger
	client  *clientv3.Client
	claims  *watch.Cache[claim]
	members map[string]*member // who is alive, or should be
	proxy   *netfault.Proxy    // before etcd, of the member that is to be cut off
	failed  func(error)        // ends the show when a member cannot go on
}

// openStage returns a stage without members. The caller closes it.
func openStage(ctx context.Context, c *cluster.Cluster, o options, v *screen.Acts, failed func(error)) (*stage, error) {
	s := &stage{failed: failed, options: o, cluster: c, view: v, members: make(map[string]*member)}
	var err error
	if s.client, err = c.Spec().Dial(); err != nil {
		return nil, err
	}
	s.claims, err = watch.NewCache(ctx, s.client, o.prefix+claimKey, func(_ string, value []byte) (c claim, err error) {
		return c, json.Unmarshal(value, &c)
	})
	if err != nil {
		return nil, errors.Join(err, s.client.Close())
	}
	return s, nil
}

// close ends all members, and what the stage has.
func (s *stage) close() error {
	var errs []error
	if s.proxy != nil {
		s.proxy.Heal()
	}
	for _, m := range s.members {
		errs = append(errs, m.close())
	}
	if s.proxy != nil {
		errs = append(errs, s.proxy.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(append(errs, s.claims.Close(ctx), s.client.Close())...)
}

// join has one more member.
func (s *stage) join(ctx context.Context) (err error) {
	name, spec := fmt.Sprintf("m%d", len(s.members)+1), s.cluster.Spec()
	if name == cutOff {
		if s.proxy, spec, err = s.cluster.Proxy(); err != nil {
			return err
		}
	}
	m, err := join(ctx, name, spec, s.options, &s.ledger, s.failed)
	if err == nil {
		s.members[name] = m
	}
	return err
}

// leave has a member leave in good order.
func (s *stage) leave(name string) error {
	m := s.members[name]
	delete(s.members, name)
	return m.close()
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

// owners returns who has claimed each shard.
func (s *stage) owners() []string {
	found, claims := make([]string, shards), s.claims.Snapshot()
	for shard := range found {
		item, _ := claims.Get(fmt.Sprint(s.options.prefix, claimKey, shard))
		found[shard] = item.Value.Owner
	}
	return found
}

// settle waits until all shards are with those to whom they belong.
func (s *stage) settle(ctx context.Context, members []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the shards have not settled within %s", patience))
	defer cancel()
	want := owners(members, s.options.load)
	for _, err := range s.claims.Changes(ctx) {
		if err != nil {
			return program.CauseOr(ctx, err)
		}
		if slices.Equal(s.owners(), want) {
			return nil
		}
	}
	return context.Cause(ctx)
}
