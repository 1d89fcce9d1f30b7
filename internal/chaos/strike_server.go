package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/chaos/worker"
	"github.com/conclave-go/conclave/internal/servers"
)

// compactEvery is how often history is compacted.
const compactEvery = 100 * time.Millisecond

// healer undoes a fault.
type healer = func(context.Context) error

func nothing(context.Context) error { return nil }

// strike does the step's fault to the servers of all trials, and returns what undoes it.
func (b *bout) strike(ctx context.Context, step Step, hit map[*trial]*target) (healer, error) {
	switch step.Fault {
	case restartEmpty, minority, stopNode, clockJump, failOver:
		return b.strikeRedis(ctx, step, hit)
	default:
		return b.strikeEtcd(ctx, step)
	}
}

func (b *bout) strikeEtcd(ctx context.Context, step Step) (healer, error) {
	c, err := b.arena.etcd(ctx)
	if err != nil {
		return nil, err
	}
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	follower := (leader + 1 + step.Node%2) % 3
	b.begun(step, "")
	switch step.Fault {
	case killMember:
		return func(ctx context.Context) error { return c.Restart(ctx, step.Node%3) }, c.Kill(step.Node % 3)
	case pauseMember:
		return func(context.Context) error { return c.Resume(follower) }, c.Pause(ctx, follower)
	case stallLeader:
		return func(context.Context) error { return c.Resume(leader) }, c.Pause(ctx, leader)
	case moveLeader:
		return nothing, c.MoveLeader(ctx)
	case isolate:
		return func(context.Context) error { return c.Mend() }, c.Isolate(leader)
	case compact:
		return compacting(ctx, c)
	default:
		return b.strikeCluster(ctx, step, c, leader)
	}
}

// compacting compacts now and until it is undone.
func compacting(ctx context.Context, c *servers.Etcd) (healer, error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for pass(ctx, compactEvery) == nil {
			_ = c.Compact(ctx) // some fail: there was nothing new, or it was too late
		}
	})
	return func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	}, c.Compact(ctx)
}

func (b *bout) strikeRedis(ctx context.Context, step Step, hit map[*trial]*target) (healer, error) {
	if err := b.awaitRenewals(ctx, hit); err != nil {
		return nil, err
	}
	b.begun(step, "")
	var heals []healer
	done := make(map[*servers.Redis]bool)
	for _, t := range b.trials {
		if t.redis == nil || done[t.redis] {
			continue
		}
		done[t.redis] = true
		heal, err := b.strikeNodes(ctx, step, t.redis)
		heals = append(heals, heal)
		if err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) error {
		return together(len(heals), func(i int) error { return heals[i](ctx) })
	}, nil
}

// strikeNodes does the fault to one set of nodes.
func (b *bout) strikeNodes(ctx context.Context, step Step, r *servers.Redis) (healer, error) {
	n := r.Size()
	majority, few := n/2+1, (n-1)/2
	at := func(i int) int { return (step.Node + i) % n }
	switch step.Fault {
	case restartEmpty:
		return nothing, together(majority, func(i int) error { return r.Node(at(i)).Revive(ctx) })
	case minority:
		return func(ctx context.Context) error {
			return together(few, func(i int) error { return r.Node(at(i)).Revive(ctx) })
		}, together(few, func(i int) error { return r.Node(at(i)).Crash() })
	case stopNode:
		return func(context.Context) error {
			return together(few, func(i int) error { return r.Node(at(i)).Resume() })
		}, together(few, func(i int) error { return r.Node(at(i)).Suspend() })
	case clockJump:
		return func(ctx context.Context) error { return r.Jump(ctx, majority, 0) }, r.Jump(ctx, majority, step.Size, b.locks()...)
	default:
		return b.failOver(ctx, r)
	}
}

// locks are the names of the trials' locks.
func (b *bout) locks() []string {
	var all []string
	for _, t := range b.trials {
		all = append(all, t.Lock)
	}
	return all
}

// lag holds back what replicas have yet to copy, so that they will not hear of the next
// holder.
func (b *bout) lag(ctx context.Context) error {
	return together(len(b.trials), func(i int) error {
		t := b.trials[i]
		return t.redis.Lag(ctx, 1-b.arena.primary, t.Lock)
	})
}

// failOver kills the node that serves, whose replica takes its place.
func (b *bout) failOver(ctx context.Context, r *servers.Redis) (healer, error) {
	dead, next := b.arena.primary, 1-b.arena.primary
	if err := r.FailOver(ctx, dead, next); err != nil {
		return nil, err
	}
	b.arena.primary = next
	for _, t := range b.trials {
		for _, h := range t.hands {
			h.job.Redis = []string{r.Node(next).Addr()}
			h.tell(worker.Dial(r.Node(next).Addr()))
		}
	}
	return func(ctx context.Context) error {
		return errors.Join(r.Node(dead).Revive(ctx), r.Replicate(ctx, next, dead))
	}, nil
}

// awaitRenewals returns just after all holders have renewed their locks on Redis, so
// that they will not look again for a third of the TTL.
func (b *bout) awaitRenewals(ctx context.Context, hit map[*trial]*target) error {
	return together(len(b.trials), func(i int) error {
		g := hit[b.trials[i]]
		if g == nil || g.step.Point != worker.Stay || g.reached.Hold == "" || g.redis == nil {
			return nil
		}
		g.hand.tell(worker.Go)
		return g.awaitRenewal(ctx)
	})
}

// awaitRenewal returns when the deadline of the hold has been moved, or the hold is over.
func (g *target) awaitRenewal(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, hang, fmt.Errorf("no sign of a renewal within %s", hang))
	defer cancel()
	mark := g.log.Mark()
	before, _ := g.log.Last(g.isSample)
	for before.Kind == history.Valid || before.Kind == "" {
		e, err := g.log.Await(ctx, mark, g.isSample)
		if err != nil {
			return err
		}
		mark = g.log.Mark()
		if before.Kind == history.Valid && e.Until > before.Until {
			return nil
		}
		before = e
	}
	return nil
}

// isSample reports whether an event tells the deadline of the hold that the step is
// aimed at, or its end.
func (g *target) isSample(e history.Event) bool {
	return e.Hold == g.reached.Hold && (e.Kind == history.Valid && e.Until != 0 || e.Kind == history.Told || e.Kind == history.Releasing)
}
