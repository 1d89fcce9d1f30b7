package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/singleflight"
)

// policy is what somebody says of a tenant's policy, which is a number under policy/TENANT.
// Whoever says it, it has a place in one order, that of etcd's revisions: a policy that of
// its write, and one that does not exist that of the read that has not found it.
type policy struct {
	Tenant  string
	Limit   int // instances of each product; 0 if there is no policy
	Version int64
}

// policies is a cache that believes whoever knows the latest: those who push, which may come
// twice, out of order or not at all, those who are asked for all from time to time, and those
// who are asked because one is missed.
type policies struct {
	client *clientv3.Client
	misses singleflight.Group

	mu    sync.Mutex
	known map[string]policy
}

// learn takes note of a policy unless it is older than, or the same as, what is known. So it
// does not matter in which order policies come, nor how often.
func (p *policies) learn(from string, s policy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s.Version > p.known[s.Tenant].Version:
		p.known[s.Tenant] = s
		slog.Info("learned", "tenant", s.Tenant, "version", s.Version, "from", from)
	case from == "pushed":
		slog.Info("ignored", "tenant", s.Tenant, "version", s.Version, "from", from)
	}
}

func (p *policies) lookUp(tenant string) policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[tenant]
}

// of returns a tenant's policy. If it is not known it is read, once for all who ask
// meanwhile. That read is not ended by the ctx of the one who happened to be first.
func (p *policies) of(ctx context.Context, tenant string) (policy, error) {
	if s := p.lookUp(tenant); s.Version > 0 {
		return s, nil
	}
	read := p.misses.DoChan(tenant, func() (any, error) {
		return nil, p.read(context.WithoutCancel(ctx), "missed", []string{tenant}, "policy/"+tenant)
	})
	select {
	case r := <-read: // and not what was read: a push may have brought something newer
		return p.lookUp(tenant), r.Err
	case <-ctx.Done():
		return policy{}, context.Cause(ctx)
	}
}

// read asks etcd for policies, among which those tenants' should be.
func (p *policies) read(ctx context.Context, from string, tenants []string, key string, opts ...clientv3.OpOption) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	resp, err := p.client.Get(ctx, key, opts...)
	if err != nil {
		return fmt.Errorf("reading policies: %w", err)
	}
	return p.learnFrom(resp, from, tenants)
}

func (p *policies) learnFrom(resp *clientv3.GetResponse, from string, tenants []string) error {
	for _, kv := range resp.Kvs {
		tenant := strings.TrimPrefix(string(kv.Key), "policy/")
		limit, err := strconv.Atoi(string(kv.Value))
		if err != nil {
			return fmt.Errorf("the policy of %s: %w", tenant, err)
		}
		p.learn(from, policy{tenant, limit, kv.ModRevision})
		tenants = slices.DeleteFunc(tenants, func(t string) bool { return t == tenant })
	}
	for _, tenant := range tenants { // who have none
		p.learn(from, policy{Tenant: tenant, Version: resp.Header.Revision})
	}
	return nil
}

// pullEvery pulls from time to time, to the end of ctx. A pull that fails is made up for by
// the next.
func (p *policies) pullEvery(ctx context.Context, period time.Duration) {
	for tick := time.Tick(period); ; {
		select {
		case <-tick:
			if err := p.pull(ctx); err != nil {
				slog.Warn("not pulled", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// pull asks for all policies. It need not be the leader of the cluster that answers: what is
// older than what is known has no effect.
func (p *policies) pull(ctx context.Context) error {
	p.mu.Lock()
	known := slices.Collect(maps.Keys(p.known))
	p.mu.Unlock()
	return p.read(ctx, "pulled", known, "policy/", clientv3.WithPrefix(), clientv3.WithSerializable())
}

// ServeHTTP takes a push.
func (p *policies) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var s policy
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.learn("pushed", s)
}
