package perf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/servers"
)

// ErrNoRedis is returned by [Pool.Env] for work on Redis where there is no redis-server.
var ErrNoRedis = errors.New("perf: no redis-server in the PATH")

// Roles are what copies of this program do: a program that uses a [Pool] begins with
// process.Main(perf.Roles()).
func Roles() map[string]process.Role {
	return map[string]process.Role{servers.MemberRole: servers.Member}
}

// Pool holds the servers of a run, each started at its first use, in a process of its
// own. Its zero value is empty; Close ends the servers.
type Pool struct {
	mu    sync.Mutex
	etcd  map[Servers]*servers.Etcd
	redis map[Servers]*redistest.Cluster
}

// Env returns what a work is done on. The caller closes it when the work is done. ctx
// bounds the start of servers.
func (p *Pool) Env(ctx context.Context, on Servers, quick bool) (*Env, error) {
	e := &Env{Quick: quick}
	var err error
	switch on {
	case None:
	case EtcdFast, EtcdDurable, EtcdCluster:
		e.servers.etcd, err = p.startEtcd(ctx, on)
	case RedisOne, RedisFive:
		e.servers.redis, err = p.startRedis(ctx, on)
	default:
		err = fmt.Errorf("perf: servers %d: want one of the constants", on)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (p *Pool) startEtcd(ctx context.Context, on Servers) (*servers.Etcd, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.etcd[on]; e != nil {
		return e, nil
	}
	var opts []servers.Option
	if on != EtcdCluster {
		opts = append(opts, servers.WithOneMember())
	}
	if on != EtcdFast {
		disk, err := disk()
		if err != nil {
			return nil, err
		}
		opts = append(opts, servers.WithFsync(), servers.WithDataIn(disk))
	}
	e, err := servers.StartEtcd(ctx, opts...)
	if err != nil {
		return nil, err
	}
	if p.etcd == nil {
		p.etcd = make(map[Servers]*servers.Etcd)
	}
	p.etcd[on] = e
	return e, nil
}

func (p *Pool) startRedis(ctx context.Context, on Servers) (*redistest.Cluster, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.redis[on]; c != nil {
		return c, nil
	}
	if !servers.HasRedis() {
		return nil, ErrNoRedis
	}
	nodes := 1
	if on == RedisFive {
		nodes = 5
	}
	c, err := redistest.Start(ctx, nodes)
	if err != nil {
		return nil, err
	}
	if p.redis == nil {
		p.redis = make(map[Servers]*redistest.Cluster)
	}
	p.redis[on] = c
	return c, nil
}

// Close ends all servers.
func (p *Pool) Close() error { return p.keep(nil) }

// keep ends the servers that none of the works is on: an etcd that has nothing to do takes
// time of the others all the same.
func (p *Pool) keep(works []Work) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(endAllBut(works, p.etcd), endAllBut(works, p.redis))
}

func endAllBut[C io.Closer](works []Work, all map[Servers]C) error {
	var errs []error
	for on, c := range all {
		if !slices.ContainsFunc(works, func(w Work) bool { return w.On == on }) {
			errs = append(errs, c.Close())
			delete(all, on)
		}
	}
	return errors.Join(errs...)
}
