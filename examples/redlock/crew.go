package main

import (
	"errors"
	"fmt"

	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/process"
)

// crew is the processes that share one lock.
type crew struct {
	*workers.Merger[event]

	job     job  // of each, but for the name and the ways
	breaks  bool // see act
	members []*crewMember
}

// crewMember is a process and its ways to the nodes, in their order.
type crewMember struct {
	*process.Process

	ways []*netfault.Proxy // none if the act cuts none
}

// startCrew starts the workers of an act. The caller closes the crew, even when
// startCrew fails.
func startCrew(s *servers, a act, j job, n int) (*crew, error) {
	for _, srv := range s.list {
		j.Nodes = append(j.Nodes, srv.node)
	}
	c := &crew{Merger: workers.NewMerger[event](), job: j, breaks: a.breaks}
	for i := range n {
		j.Worker, j.Via = fmt.Sprintf("w%d", i+1), make([]string, len(s.list))
		m := &crewMember{}
		c.members = append(c.members, m)
		for k, srv := range s.list {
			if !a.proxied {
				break
			}
			way, err := netfault.Start(srv.addr)
			if err != nil {
				return c, err
			}
			m.ways, j.Via[k] = append(m.ways, way), way.Addr()
		}
		var err error
		if m.Process, err = c.start(j); err != nil {
			return c, err
		}
	}
	return c, nil
}

// start starts a worker.
func (c *crew) start(j job) (*process.Process, error) {
	return process.Start(j.Worker, workerRole, j, c.Add, func(detail string) {
		c.Add(event{At: process.Now(), Worker: j.Worker, Kind: exited, Detail: detail})
	})
}

// quit asks every worker to end. Each reports its exit.
func (c *crew) quit() {
	for _, m := range c.members {
		m.heal()
		m.Ask()
	}
}

// heal puts the ways in order.
func (m *crewMember) heal() {
	for _, way := range m.ways {
		way.Heal()
	}
}

// close ends what is left of the crew at once.
func (c *crew) close() error {
	var errs []error
	for _, m := range c.members {
		if m.Process != nil {
			errs = append(errs, m.Kill())
		}
	}
	c.Stop()
	for _, m := range c.members {
		if m.Process != nil {
			m.Wait()
		}
		for _, way := range m.ways {
			errs = append(errs, way.Close())
		}
	}
	return errors.Join(errs...)
}
