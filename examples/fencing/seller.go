package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/process"
)

// seller is a worker as its parent sees it.
type seller struct {
	job    job
	proxy  *netfault.Proxy  // before etcd, if the worker is not to be stopped
	worker *process.Process // nil until it was started
	events chan event
}

// mostEvents is more than a worker reports.
const mostEvents = 100

// start runs this program as a worker.
func (p *seller) start() (err error) {
	p.events = make(chan event, mostEvents)
	p.worker, err = process.Start(p.job.Worker, workerRole, p.job,
		func(e event) { p.events <- e },
		func(detail string) { p.events <- event{Kind: ended, Detail: detail} })
	return err
}

// await returns what the worker reports next, which has to be of that kind.
func (p *seller) await(ctx context.Context, k kind) (e event, err error) {
	select {
	case e = <-p.events:
	case <-ctx.Done():
		return e, context.Cause(ctx)
	}
	if e.Kind != k {
		return e, fmt.Errorf("%s has %s, not %s %s", p.job.Worker, e.Kind, k, e.Detail)
	}
	return e, nil
}

// goOn lets the worker write.
func (p *seller) goOn() error { return p.worker.Send("go on") }

// stop keeps the worker from renewing its lease.
func (p *seller) stop(ctx context.Context) error {
	if p.proxy == nil {
		return p.worker.Pause(ctx)
	}
	p.proxy.Blackhole()
	return nil
}

// stopped says what stop did.
func (p *seller) stopped() string {
	if p.proxy == nil {
		return "stopped (SIGSTOP)"
	}
	return "cut off from etcd, and waits"
}

func (p *seller) resume() error {
	if p.proxy == nil {
		return p.worker.Resume()
	}
	p.proxy.Heal()
	return nil
}

// close lets the worker end in good order, if it was started, and waits for it.
func (p *seller) close() (err error) {
	if p.proxy != nil {
		p.proxy.Heal()
		defer func() { err = errors.Join(err, p.proxy.Close()) }()
	}
	if p.worker == nil {
		return nil
	}
	return p.worker.Quit()
}
