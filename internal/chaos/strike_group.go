package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/process"
)

// pieceDelay is by how much the traffic of a planner is late that is to be killed between
// two pieces.
const pieceDelay = 50 * time.Millisecond

// killPlanner kills the member that plans when a piece of a plan has been put and the next
// has not, waits until each shard has been granted again, and replaces it.
func (g *target) killPlanner(ctx context.Context) error {
	var err error
	if g.hand, err = g.planner(ctx); err != nil {
		return err
	}
	g.hand.each(func(p *netfault.Proxy) { p.Delay(pieceDelay) })
	if err := g.betweenPieces(ctx); err != nil {
		return err
	}
	g.begun(g.hand, "")
	p := g.hand.current()
	if err := p.Kill(); err != nil {
		return err
	}
	g.reached.Worker = g.hand.name()
	g.died(process.Now())
	p.Wait()
	err = g.await(ctx, "grants after the death of the planner", 1)
	g.ended(g.hand)
	g.hand.heal()
	return errors.Join(err, g.hand.start())
}

// planner returns who plans, once there is somebody.
func (g *target) planner(ctx context.Context) (*hand, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, hang, fmt.Errorf("nobody plans within %s", hang))
	defer cancel()
	for {
		leader, err := election.Current(ctx, g.etcd.Client(), g.Lock)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(g.hands, func(h *hand) bool { return h.name() == leader.Owner })
		if i >= 0 {
			return g.hands[i], nil
		}
		if err := pass(ctx, pieceDelay); err != nil {
			return nil, err
		}
	}
}

// betweenPieces returns when a piece of a plan has been put that is not its last.
func (g *target) betweenPieces(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, hang, fmt.Errorf("no plan of several pieces within %s", hang))
	defer cancel()
	plan := g.Lock + "/plan/"
	for resp := range g.etcd.Client().Watch(clientv3.WithRequireLeader(ctx), plan, clientv3.WithPrefix()) {
		last := slices.ContainsFunc(resp.Events, func(e *clientv3.Event) bool { return strings.HasSuffix(string(e.Kv.Key), "/head") })
		if len(resp.Events) > 0 && !last {
			return nil
		}
	}
	return errors.Join(context.Cause(ctx), errors.New("the watch of the plan has ended"))
}
