//go:build !race

package elections

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/leaderelection"
	"github.com/conclave-go/conclave/internal/compare/works/pairs"
)

func clientGo() []library {
	return []library{{name: "client-go", lacks: "no watch, no fencing token; tells a leader that was cut off after its successor", elect: electClientGo}}
}

func electClientGo(ctx context.Context, p *pair, s pairs.Seat, name string) error {
	leads := make(chan struct{}, 1)
	_, stop, err := p.clientGo(ctx, s.First, name, "first", func(context.Context) { leads <- struct{}{} })
	if err != nil {
		return err
	}
	p.resign = func(context.Context) error { stop(); return nil }
	select {
	case <-leads:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	second, _, err := p.clientGo(ctx, s.Second, name, "second", func(context.Context) { p.elected <- elected{at: time.Now()} })
	if err != nil {
		return err
	}
	select {
	case <-second.Leaders(): // it has seen the first
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// clientGo runs a candidate of client-go's until it is stopped, at the latest with the pair.
func (p *pair) clientGo(ctx context.Context, client *clientv3.Client, name, identity string, lead func(context.Context)) (*leaderelection.Candidate, func(), error) {
	c, err := leaderelection.NewCandidate(client, name, identity, lead)
	if err != nil {
		return nil, nil, err
	}
	stop := c.Start(ctx)
	p.atEnd(func(context.Context) error { stop(); return nil })
	return c, stop, nil
}
