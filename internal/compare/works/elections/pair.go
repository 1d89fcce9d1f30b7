package elections

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/works/pairs"
)

// library is one under comparison.
type library struct {
	name, lacks string
	// elect makes a pair: it returns when the first leads and the second waits. What it
	// has begun is ended with the pair, also if it fails.
	elect func(ctx context.Context, p *pair, s pairs.Seat, name string) error
}

func libraries() []library {
	return append([]library{
		{name: "conclave", elect: electConclave},
		{name: "clientv3/concurrency", lacks: "tells a leader that was cut off after its successor", elect: electOfficial},
		{name: "conclave/concurrency", elect: electSwitched},
	}, clientGo()...)
}

// pair is a leader and the one other candidate.
type pair struct {
	// resign lets the leader give up its leadership.
	resign func(ctx context.Context) error
	// elected gets what became of the other's candidacy.
	elected chan elected
	begun
}

type elected struct {
	at  time.Time
	err error
}

func newPair() *pair { return &pair{elected: make(chan elected, 1)} }

// campaign lets the other campaign, until ctx ends.
func (p *pair) campaign(ctx context.Context, campaign func(ctx context.Context, value string) error) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := campaign(ctx, "second")
		p.elected <- elected{time.Now(), err}
	}()
	p.atEnd(func(context.Context) error { <-ended; return nil })
}

// wait waits for the election of the other.
func (p *pair) wait(ctx context.Context) (time.Time, error) {
	select {
	case e := <-p.elected:
		return e.at, e.err
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
}

func electConclave(ctx context.Context, p *pair, s pairs.Seat, name string) error {
	first, err := p.conclave(ctx, s.First, name)
	if err != nil {
		return err
	}
	second, err := p.conclave(ctx, s.Second, name)
	if err != nil {
		return err
	}
	term, err := first.Campaign(ctx, "first")
	if err != nil {
		return err
	}
	p.resign = term.Resign
	p.campaign(ctx, func(ctx context.Context, value string) error {
		_, err := second.Campaign(ctx, value)
		return err
	})
	return pairs.Queued(ctx, s.Second, name)
}

// candidate is an election by the official client's names.
type candidate interface {
	Campaign(ctx context.Context, value string) error
	Resign(ctx context.Context) error
}

func electOfficial(ctx context.Context, p *pair, s pairs.Seat, name string) error {
	return p.elect(ctx, s, name, func(client *clientv3.Client) (candidate, error) { return p.official(ctx, client, name) })
}

func electSwitched(ctx context.Context, p *pair, s pairs.Seat, name string) error {
	return p.elect(ctx, s, name, func(client *clientv3.Client) (candidate, error) { return p.switched(ctx, client, name) })
}

func (p *pair) elect(ctx context.Context, s pairs.Seat, name string, stand func(*clientv3.Client) (candidate, error)) error {
	first, err := stand(s.First)
	if err != nil {
		return err
	}
	second, err := stand(s.Second)
	if err != nil {
		return err
	}
	if err := first.Campaign(ctx, "first"); err != nil {
		return err
	}
	p.resign = first.Resign
	p.campaign(ctx, second.Campaign)
	return pairs.Queued(ctx, s.Second, name)
}
