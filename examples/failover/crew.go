package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/process"
)

// crew is the candidates, and the way of each to etcd.
type crew struct {
	*workers.Merger[event]

	prefix     string // of all keys
	job        job    // of each candidate, but for its name and its way
	client     *clientv3.Client
	candidates []*candidate
	watching   sync.WaitGroup
	stopWatch  context.CancelFunc
}

// candidate is a worker behind a proxy of its own, so that any can be cut off. Its
// process may be started again.
type candidate struct {
	*process.Process

	job   job
	proxy *netfault.Proxy
}

// startCrew starts the candidates. The caller closes the crew, even when startCrew
// fails, unless it returns nil.
func startCrew(ctx context.Context, c *cluster.Cluster, prefix string, set settings) (*crew, error) {
	client, err := c.Spec().Dial()
	if err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(ctx)
	cr := &crew{
		Merger: workers.NewMerger[event](), client: client, stopWatch: stop, prefix: prefix,
		job: job{Name: prefix + "election", Resource: prefix + "resource", TTL: set.ttl},
	}
	if err := cr.watchStore(watching); err != nil {
		return cr, err
	}
	cr.watching.Go(func() { cr.observe(watching) })
	for i := range set.candidates {
		cand := &candidate{job: cr.job}
		cand.job.Worker = fmt.Sprintf("c%d", i+1)
		if cand.proxy, cand.job.Etcd, err = c.Proxy(); err != nil {
			return cr, err
		}
		cr.candidates = append(cr.candidates, cand)
		if err := cr.start(cand); err != nil {
			return cr, err
		}
	}
	return cr, nil
}

// start starts the process of a candidate, for the first time or again.
func (c *crew) start(cand *candidate) error {
	p, err := process.Start(cand.job.Worker, workerRole, cand.job, c.Add, func(detail string) {
		c.Add(event{At: process.Now(), Worker: cand.job.Worker, Kind: exited, Detail: detail})
	})
	if err == nil {
		cand.Process = p
	}
	return err
}

// find returns the candidate of a name, which there has to be.
func (c *crew) find(name string) (*candidate, error) {
	for _, cand := range c.candidates {
		if cand.job.Worker == name {
			return cand, nil
		}
	}
	return nil, fmt.Errorf("no candidate is called %q", name)
}

// quit asks every candidate to end. Each reports its exit.
func (c *crew) quit() {
	for _, cand := range c.candidates {
		cand.proxy.Heal()
		if cand.Process != nil {
			cand.Ask()
		}
	}
}

// close ends what is left of the crew at once.
func (c *crew) close() error {
	var errs []error
	for _, cand := range c.candidates {
		if cand.Process != nil {
			errs = append(errs, cand.Kill())
		}
	}
	c.Stop()
	c.stopWatch()
	for _, cand := range c.candidates {
		if cand.Process != nil {
			cand.Wait()
		}
		errs = append(errs, cand.proxy.Close())
	}
	// The watch ends with the client at the latest.
	errs = append(errs, c.client.Close())
	c.watching.Wait()
	return errors.Join(errs...)
}
