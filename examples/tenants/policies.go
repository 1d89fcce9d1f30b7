package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/singleflight"
)

// readTimeout bounds the read of one policy and a pull of all.
const readTimeout = 5 * time.Second

// policy is what a tenant may have, as the publisher has stored it under the tenant's
// name.
type policy struct {
	Limit int // instances of each product
}

// stated is what is known of a tenant's policy. Wherever it comes from, it has a place
// in one order, that of etcd's revisions: a policy that of its write, and a policy that
// does not exist that of the read that has not found it.
type stated struct {
	Tenant  string
	Policy  *policy // nil: there is none
	Version int64
}

// source says where something was heard.
type source string

const (
	pushed source = "pushed" // it may come twice, out of order, or not at all
	pulled source = "pulled" // it may be old: any member of the cluster answers
	missed source = "missed" // it was read because somebody asked
)

// policies is a cache that believes whoever knows the latest.
type policies struct {
	client *clientv3.Client
	prefix string                                 // of the policies' keys
	heard  func(s stated, from source, news bool) // is told of what was heard, in order
	misses singleflight.Group

	mu    sync.Mutex
	known map[string]stated
}

// learn takes note of a statement unless it is older than, or the same as, what is
// known. So it does not matter in which order statements come, nor how often.
func (p *policies) learn(s stated, from source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, known := p.known[s.Tenant]
	news := !known || s.Version > old.Version
	if news {
		p.known[s.Tenant] = s
	}
	p.heard(s, from, news)
}

func (p *policies) lookUp(tenant string) (stated, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.known[tenant]
	return s, ok
}

// get returns a tenant's policy. If it is not known it is read, once for all who ask
// meanwhile. That read is not ended by the ctx of the one who happened to be first.
func (p *policies) get(ctx context.Context, tenant string) (stated, error) {
	if s, ok := p.lookUp(tenant); ok {
		return s, nil
	}
	read := p.misses.DoChan(tenant, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
		defer cancel()
		return nil, p.read(ctx, tenant)
	})
	select {
	case r := <-read:
		if r.Err != nil {
			return stated{}, r.Err
		}
	case <-ctx.Done():
		return stated{}, context.Cause(ctx)
	}
	// Not what was read: a push may have brought something newer.
	s, _ := p.lookUp(tenant)
	return s, nil
}

// read asks etcd for one policy.
func (p *policies) read(ctx context.Context, tenant string) error {
	resp, err := p.client.Get(ctx, p.prefix+tenant)
	if err != nil {
		return fmt.Errorf("the policy of %s: %w", tenant, err)
	}
	return p.learnFrom(resp, []string{tenant}, missed)
}

// pull asks for all policies. It need not be the leader of the cluster that answers:
// what is older than what is known has no effect.
func (p *policies) pull(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	p.mu.Lock()
	known := slices.Collect(maps.Keys(p.known))
	p.mu.Unlock()
	resp, err := p.client.Get(ctx, p.prefix, clientv3.WithPrefix(), clientv3.WithSerializable())
	if err != nil {
		return fmt.Errorf("pulling: %w", err)
	}
	return p.learnFrom(resp, known, pulled)
}

// learnFrom learns of the policies in an answer, and that those tenants have none that
// were asked for and are not in it.
func (p *policies) learnFrom(resp *clientv3.GetResponse, asked []string, from source) error {
	found := make(map[string]bool)
	for _, kv := range resp.Kvs {
		s := stated{Tenant: strings.TrimPrefix(string(kv.Key), p.prefix), Policy: new(policy), Version: kv.ModRevision}
		found[s.Tenant] = true
		if err := json.Unmarshal(kv.Value, s.Policy); err != nil {
			return fmt.Errorf("the policy of %s: %w", s.Tenant, err)
		}
		p.learn(s, from)
	}
	for _, tenant := range asked {
		if !found[tenant] {
			p.learn(stated{Tenant: tenant, Version: resp.Header.Revision}, from)
		}
	}
	return nil
}

// pullEvery pulls from time to time, to the end of ctx. A pull that fails is made up
// for by the next.
func (p *policies) pullEvery(ctx context.Context, period time.Duration) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = p.pull(ctx)
		case <-ctx.Done():
			return
		}
	}
}
