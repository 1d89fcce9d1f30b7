package main

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/internal/netfault"
)

// crew is the processes that share one lock, and the way to each of them.
type crew struct {
	*merger

	job       job // of each, but for the name
	client    *clientv3.Client
	proxy     *netfault.Proxy // before the first worker; nil if there is none
	processes []*process
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
	cr := &crew{merger: newMerger(), job: j, client: client}
	watching, stop := context.WithCancel(ctx)
	cr.stopWatch = stop
	if err := watchQueue(watching, client, j.Name, cr.add); err != nil {
		return cr, err
	}
	for i := range set.workers {
		j.Worker, j.Etcd = fmt.Sprintf("w%d", i+1), c.Spec()
		if i == 0 && a.proxied {
			if cr.proxy, j.Etcd, err = c.Proxy(); err != nil {
				return cr, err
			}
		}
		p, err := startProcess(j, cr.add)
		if p != nil {
			cr.processes = append(cr.processes, p)
		}
		if err != nil {
			return cr, err
		}
	}
	return cr, nil
}

// quit asks every worker to end. Each reports its exit.
func (c *crew) quit() {
	if c.proxy != nil {
		c.proxy.Heal()
	}
	for _, p := range c.processes {
		p.quit()
	}
}

// close ends what is left of the crew at once.
func (c *crew) close() error {
	var errs []error
	for _, p := range c.processes {
		errs = append(errs, p.kill())
	}
	c.merger.close()
	for _, p := range c.processes {
		<-p.gone
	}
	c.stopWatch()
	if c.proxy != nil {
		errs = append(errs, c.proxy.Close())
	}
	return errors.Join(append(errs, c.client.Close())...)
}
