package capacity

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
)

// observed is the name of the election.
const observed = "election"

// observers are loops over an election with one client.
func observers(largest int) load {
	return load{
		name: observerLoad, largest: largest,
		probed: "proclamation to the last of them",
		begin: func(ctx context.Context, r *rig) (crowd, error) {
			shared, err := r.connected(ctx, 1)
			if err != nil {
				return crowd{}, err
			}
			return audience(ctx, r, largest, func() (*clientv3.Client, error) { return shared[0], nil })
		},
	}
}

// watchers are such loops with a client each.
func watchers(largest int) load {
	return load{
		name: watcherLoad, largest: largest,
		probed: "proclamation to the last of them",
		begin: func(ctx context.Context, r *rig) (crowd, error) {
			return audience(ctx, r, largest, r.client)
		},
	}
}

// gallery is who looks at an election.
type gallery struct {
	term   *election.Term
	client func() (*clientv3.Client, error)
	ctx    context.Context // of the loops
	stop   context.CancelFunc
	loops  sync.WaitGroup
	size   atomic.Int64
	number int // of the last proclamation
	// news is told of every change that somebody has seen, or why somebody sees no more.
	news chan error
}

// audience elects a leader to look at.
func audience(ctx context.Context, r *rig, largest int, client func() (*clientv3.Client, error)) (crowd, error) {
	s, err := r.ownSession(ctx)
	if err != nil {
		return crowd{}, err
	}
	e, err := election.New(s, observed)
	if err != nil {
		return crowd{}, err
	}
	g := &gallery{client: client, news: make(chan error, largest)}
	g.ctx, g.stop = context.WithCancel(context.WithoutCancel(ctx))
	g.term, err = e.Campaign(ctx, "leader")
	return crowd{add: g.add, probe: g.proclaim, end: g.end}, err
}

// add returns once one observer more has seen the leader.
func (g *gallery) add(ctx context.Context, _ int) error {
	client, err := g.client()
	if err != nil {
		return err
	}
	seen := make(chan error, 1)
	g.loops.Go(func() { // ends when end stops it, or with an error
		first := true
		for _, err := range election.Observe(g.ctx, client, observed) {
			if first {
				seen <- err
				first = false
				continue
			}
			select {
			case g.news <- err:
			case <-g.ctx.Done():
			}
		}
	})
	select {
	case err := <-seen:
		g.size.Add(1)
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// proclaim proclaims something new and says how long it took to the last observer.
func (g *gallery) proclaim(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	g.number++
	if err := g.term.Proclaim(ctx, fmt.Sprintf("leader %d", g.number)); err != nil {
		return 0, err
	}
	for range g.size.Load() {
		select {
		case err := <-g.news:
			if err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return time.Since(begun), nil
}

// end ends the loops.
func (g *gallery) end(context.Context) error {
	g.stop()
	g.loops.Wait()
	return nil
}
