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

// policy is a tenant's policy as it was at one revision; in etcd it is a number under
// policy/TENANT. Policies are ordered by etcd revision, whatever their source: that of the
// write, or, if there is no policy, that of the read that found none.
type policy struct {
	Tenant  string
	Limit   int // instances of each product; 0 if there is no policy
	Version int64
}

// policies is a cache in which the newest version wins, whether pushed, pulled periodically, or
// read on a miss. A push may come twice, out of order, or not at all.
type policies struct {
	client *clientv3.Client
	misses singleflight.Group

	mu    sync.Mutex
	known map[string]policy
}

// learn stores a policy unless it is as old as the known one, or older. So it does not matter
// in which order policies come, nor how often.
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
// meanwhile. The ctx of the first caller does not end that read.
func (p *policies) of(ctx context.Context, tenant string) (policy, error) {
	if s := p.lookUp(tenant); s.Version > 0 {
		return s, nil
	}
	read := p.misses.DoChan(tenant, func() (any, error) {
		return nil, p.read(context.WithoutCancel(ctx), "missed", []string{tenant}, "policy/"+tenant)
	})
	select {
	case r := <-read: // look it up again: a push may have brought something newer
		return p.lookUp(tenant), r.Err
	case <-ctx.Done():
		return policy{}, context.Cause(ctx)
	}
}

// read reads policies from etcd, and records which of those tenants have none.
func (p *policies) read(ctx context.Context, from string, tenants []string, key string, opts ...clientv3.OpOption) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
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

// pullEvery pulls periodically until ctx ends. If a pull fails, the next one catches up.
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

// pull reads all policies. A follower that lags behind may answer: a policy that is older than
// the known one has no effect.
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
