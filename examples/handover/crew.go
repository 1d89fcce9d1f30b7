package main

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/process"
)

// crew is the processes that share one lock, and the way to each of them.
type crew struct {
	*workers.Merger[event]

	job       job // of each, but for the name
	client    *clientv3.Client
	proxy     *netfault.Proxy // before the first worker; nil if there is none
	processes []*process.Process
	stopWatch context.CancelFunc
}

// startCrew starts the workers of an act. The caller closes the crew, even when
// startCrew fails, unless it returns nil.
func startCrew(ctx context.Context, c *cluster.Cluster, a act, prefix string, set settings) (*crew, error) {
	client, err := c.Spec().Dial()
	if err != nil {
		return nil, err
	}
	j := job{Library: a.library, Name: prefix + "lock", TTL: set.ttl, Hold: set.hold}
	if a.writes {
		j.Resource = prefix + "resource"
	}
	cr := &crew{Merger: workers.NewMerger[event](), job: j, client: client}
	watching, stop := context.WithCancel(ctx)
	cr.stopWatch = stop
	if err := watchQueue(watching, client, j.Name, cr.Add); err != nil {
		return cr, err
	}
	for i := range set.workers {
		j.Worker, j.Etcd = fmt.Sprintf("w%d", i+1), c.Spec()
		if i == 0 && a.proxied {
			if cr.proxy, j.Etcd, err = c.Proxy(); err != nil {
				return cr, err
			}
		}
		p, err := cr.start(j)
		if err != nil {
			return cr, err
		}
		cr.processes = append(cr.processes, p)
	}
	return cr, nil
}

// start starts a worker.
func (c *crew) start(j job) (*process.Process, error) {
	return process.Start(j.Worker, workerRole, j, c.Add, func(detail string) {
		c.Add(event{At: process.Now(), Worker: j.Worker, Kind: exited, Detail: detail})
	})
}

// quit asks every worker to end. Each reports its exit.
func (c *crew) quit() {
	if c.proxy != nil {
		c.proxy.Heal()
	}
	for _, p := range c.processes {
		p.Ask()
	}
}

// close ends what is left of the crew at once.
func (c *crew) close() error {
	err := workers.Kill(c.processes...)
	c.Stop()
	c.stopWatch()
	if c.proxy != nil {
		err = errors.Join(err, c.proxy.Close())
	}
	return errors.Join(err, c.client.Close())
}
