package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/watch"
)

const (
	// runners is how many products are seen to at a time.
	runners = 4
	// A product that cannot be brought about is tried again after the first of these,
	// then after twice that and so on, up to the second.
	shortestPause, longestPause = 100 * time.Millisecond, time.Second
	// sweepPeriod is for how long something may run that nobody wants.
	sweepPeriod = 5 * time.Second
)

// product is one of a tenant: as it should be, under
//
//	<root>/tenant/info/<tenant>/rs/<product>
//
// and as it is, under the same with "running" for "info". Here the world that the
// controller acts on is made of keys too, so that it can be looked at; elsewhere it
// would be containers or queues.
type product struct {
	Instances int
	Term      lock.Token `json:",omitzero"` // in which it was made so
}

// root is the prefix of all keys of a run.
type root string

func (r root) info() string     { return string(r) + "/tenant/info/" }
func (r root) running() string  { return string(r) + "/tenant/running/" }
func (r root) policies() string { return string(r) + "/policies/" }

// wanted returns the key of a product as it should be.
func (r root) wanted(tenant, name string) string { return r.info() + tenant + "/rs/" + name }

// actual returns the key of a product as it is for that of the same as it should be.
func (r root) actual(wanted string) string { return r.running() + strings.TrimPrefix(wanted, r.info()) }

// split returns what the key of a product, as it should be, is about.
func (r root) split(wanted string) (tenant, name string) {
	tenant, name, _ = strings.Cut(strings.TrimPrefix(wanted, r.info()), "/rs/")
	return tenant, name
}

// openProducts loads the products under a prefix and follows their changes.
func openProducts(ctx context.Context, client *clientv3.Client, prefix string) (*watch.Cache[product], error) {
	return watch.NewCache(ctx, client, prefix, func(_ string, value []byte) (p product, err error) {
		return p, json.Unmarshal(value, &p)
	})
}

// controller makes products what they should be, while it leads.
type controller struct {
	client   *clientv3.Client
	root     root
	wanted   *watch.Cache[product] // kept up to date also while another leads
	policies *policies
	failed   func(key string, err error) // is told of what cannot be done, or not yet
}

// lead goes on for a term. It begins with every product, whatever the leaders before
// have left undone.
func (c *controller) lead(ctx context.Context, term *election.Term) error {
	ctx, cancel := context.WithCancel(ctx)
	var sweeping sync.WaitGroup
	defer sweeping.Wait()
	defer cancel()
	sweeping.Go(func() { c.sweepEvery(ctx, term, sweepPeriod) })
	see := func(ctx context.Context, key string) error { return c.reconcile(ctx, term, key) }
	return watch.Reconcile(ctx, c.wanted, see, watch.WithWorkers(runners), watch.WithBackoff(shortestPause, longestPause))
}

// sweepEvery stops what runs and is not wanted, at once and then from time to time, to
// the end of ctx. Reconcile does not know of products that were deleted while nobody
// led.
func (c *controller) sweepEvery(ctx context.Context, term *election.Term, period time.Duration) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		_ = c.sweep(ctx, term) // what fails is made up for by the next
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c *controller) sweep(ctx context.Context, term *election.Term) error {
	resp, err := c.client.Get(ctx, c.root.running(), clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	// Now the cache is at least as recent as that.
	if err := c.wanted.WaitRevision(ctx, resp.Header.Revision); err != nil {
		return err
	}
	for _, kv := range resp.Kvs {
		key := c.root.info() + strings.TrimPrefix(string(kv.Key), c.root.running())
		if _, ok := c.wanted.Get(key); !ok {
			err = errors.Join(err, c.reconcile(ctx, term, key))
		}
	}
	return err
}

// reconcile makes one product what it should be now, which may be for the first time,
// once more, or after several changes. What is comes before what should be: then
// nothing can have been done meanwhile for a wish that is not known here.
func (c *controller) reconcile(ctx context.Context, term *election.Term, key string) error {
	resp, err := c.client.Get(ctx, c.root.actual(key))
	if err != nil {
		return err
	}
	instances, err := c.allowed(ctx, key)
	if err == nil {
		err = c.set(ctx, term, c.root.actual(key), resp.Kvs, instances)
	}
	if err != nil && ctx.Err() == nil {
		c.failed(key, err)
	}
	return err
}

// allowed returns how many instances there should be, 0 if the product is not wanted,
// unless the tenant's policy allows fewer.
func (c *controller) allowed(ctx context.Context, key string) (int, error) {
	item, ok := c.wanted.Get(key)
	if !ok || item.Err != nil {
		return 0, item.Err
	}
	tenant, _ := c.root.split(key)
	s, err := c.policies.get(ctx, tenant)
	switch {
	case err != nil:
		return 0, err
	case s.Policy == nil:
		return 0, fmt.Errorf("%s has no policy", tenant)
	case item.Value.Instances > s.Policy.Limit:
		return 0, fmt.Errorf("%d wanted, %d allowed by version %d", item.Value.Instances, s.Policy.Limit, s.Version)
	}
	return item.Value.Instances, nil
}

// set changes the world from what it was found to be, unless there is nothing to do. Two
// conditions are on that: that the world is still so, and, by Txn, that the term is not
// over: a leader that was paused cannot undo what the next has done.
func (c *controller) set(ctx context.Context, term *election.Term, key string, found []*mvccpb.KeyValue, instances int) error {
	var now product
	var revision int64
	if len(found) > 0 {
		revision = found[0].ModRevision
		if err := json.Unmarshal(found[0].Value, &now); err != nil {
			return err
		}
	}
	if now.Instances == instances {
		return nil
	}
	op := clientv3.OpDelete(key)
	if instances > 0 {
		op = clientv3.OpPut(key, product{instances, term.Token()}.json())
	}
	resp, err := term.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).Then(op).Commit()
	if err == nil && !resp.Succeeded {
		err = errors.New("somebody else has changed it meanwhile")
	}
	return err
}

func (p product) json() string {
	text, _ := json.Marshal(p) // cannot fail: numbers
	return string(text)
}
