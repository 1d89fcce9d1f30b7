package chaos

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/servers"
)

const (
	// slowStop and slowGo are for how long a slow leader is stopped and goes on: too
	// short for the others to elect another.
	slowStop = 200 * time.Millisecond
	slowGo   = 100 * time.Millisecond
	// ballast is how many values of half a megabyte are there to be defragmented.
	ballast = 32
)

// strikeCluster does what leaves etcd slow, limited, or of another version.
func (b *bout) strikeCluster(ctx context.Context, step Step, c *servers.Etcd, leader int) (healer, error) {
	follower := (leader + 1 + step.Node%2) % 3
	mend := func(context.Context) error { return c.Mend() }
	switch step.Fault {
	case isolateFollower:
		return mend, c.Isolate(follower)
	case slowPeers:
		return mend, c.SlowPeers(step.Size)
	case lossyPeers:
		return mend, c.LosePeers(int(step.Percent))
	case vanishMember:
		vanished := []int{step.Node % 3}
		if step.Point != "" { // who keeps the lock then has one member left
			vanished = append(vanished, (step.Node+1)%3)
		}
		return b.network((*netfault.Proxy).HalfOpen, vanished...), nil
	case slowServers:
		return b.network(func(p *netfault.Proxy) { p.Delay(step.Size) }, 0, 1, 2), nil
	case slowLeader:
		return again(ctx, func(ctx context.Context) error { return stop(ctx, c, leader) }), nil
	case replaceMember:
		return b.replace(ctx, c, step.Node%3)
	case stallDisk:
		return func(context.Context) error { return c.FreeDisk(leader) }, c.StallDisk(leader)
	case addLearner:
		return func(ctx context.Context) error {
			if err := c.Promote(ctx); err != nil {
				return err
			}
			return c.Leave(ctx)
		}, c.Join(ctx)
	case fullStore:
		return c.Empty, c.Full(ctx)
	case defragment:
		return again(ctx, func(ctx context.Context) error {
			if err := c.Fill(ctx, ballast); err != nil {
				return err
			}
			return c.Defragment(ctx)
		}), nil
	case awayMember:
		i := step.Node % 3
		if err := c.Kill(i); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return c.Restart(ctx, i) }, c.Churn(ctx, 3*snapshots)
	case upgradeMember:
		return nothing, c.Upgrade(ctx, step.Node%3, "")
	default:
		return nil, fmt.Errorf("chaos: nobody knows how to do %q to etcd", step.Fault)
	}
}

// network does something to the ways of all workers to some members.
func (b *bout) network(do func(*netfault.Proxy), members ...int) healer {
	b.ways(do, members...)
	return func(context.Context) error {
		b.ways((*netfault.Proxy).Heal, members...)
		return nil
	}
}

func (b *bout) ways(do func(*netfault.Proxy), members ...int) {
	for _, t := range b.trials {
		for _, h := range t.hands {
			for _, i := range members {
				do(h.proxies[i])
			}
		}
	}
}

// replace puts a new member in the place of another, whose address leads nowhere until
// that is undone.
func (b *bout) replace(ctx context.Context, c *servers.Etcd, i int) (healer, error) {
	if err := c.Replace(ctx, i); err != nil {
		return nil, err
	}
	return func(context.Context) error {
		b.ways(func(p *netfault.Proxy) { p.Retarget(c.Endpoints()[i]) }, i)
		return nil
	}, nil
}

// again does something now and until it is undone, or fails.
func again(ctx context.Context, do func(context.Context) error) healer {
	ctx, cancel := context.WithCancel(ctx)
	var err error
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil && err == nil {
			if failed := do(ctx); ctx.Err() == nil {
				err = failed
			}
		}
	})
	return func(context.Context) error {
		cancel()
		running.Wait()
		return err
	}
}

// stop stops a member for a moment.
func stop(ctx context.Context, c *servers.Etcd, i int) error {
	if err := c.Pause(ctx, i); err != nil {
		return err
	}
	_ = pass(ctx, slowStop) // it has to go on whatever happened
	if err := c.Resume(i); err != nil {
		return err
	}
	return pass(ctx, slowGo)
}
