package conclavetest

import (
	"context"
	"testing"
)

// Leader waits until a member leads and returns its index.
func (c *Cluster) Leader(tb testing.TB) int {
	tb.Helper()
	ctx, cancel := limited(tb, memberPatience)
	defer cancel()
	i, err := c.server.WaitLeader(ctx)
	if err != nil {
		tb.Fatalf("conclavetest: waiting for a leader: %v", err)
	}
	return i
}

// MoveLeader hands the leadership to another running member, as an operator would, and
// returns when it has it. The cluster needs at least two running members.
func (c *Cluster) MoveLeader(tb testing.TB) {
	tb.Helper()
	c.do(tb, "moving the leader", func(ctx context.Context) error {
		if _, err := c.server.WaitLeader(ctx); err != nil {
			return err
		}
		return c.server.MoveLeader(ctx)
	})
}

// Isolate cuts member i off from its peers, until [Cluster.Rejoin]. It goes on answering clients, as one without a leader
// does: a linearizable read or a write fails or waits, a watch that does not require a leader is silent. If it led, another
// is elected by the rest. In virtual time, where there are no peers, it fails the test.
func (c *Cluster) Isolate(tb testing.TB, i int) {
	tb.Helper()
	c.checkMember(tb, i)
	c.do(tb, "isolating a member", func(context.Context) error { return c.server.Isolate(i) })
}

// Rejoin reconnects isolated members with their peers, and returns when the cluster has a
// leader.
func (c *Cluster) Rejoin(tb testing.TB) {
	tb.Helper()
	c.server.HealLinks()
	c.Leader(tb)
}

// Stop shuts member i down as an operator would: it hands over its leadership first. It
// does nothing to a stopped member.
func (c *Cluster) Stop(tb testing.TB, i int) {
	tb.Helper()
	c.checkMember(tb, i)
	c.do(tb, "stopping a member", func(ctx context.Context) error { return c.server.Stop(ctx, i) })
}

// Kill stops member i at once, as the death of its process would: connections break,
// nothing is handed over. It does nothing to one that is stopped. What the member has
// acknowledged is there again after [Cluster.Restart].
func (c *Cluster) Kill(tb testing.TB, i int) {
	tb.Helper()
	c.checkMember(tb, i)
	c.do(tb, "killing a member", func(context.Context) error { return c.server.Kill(i) })
}

// Restart kills member i if it is running, and starts it on its address and data. It
// returns when the member serves, if a majority is running with it.
func (c *Cluster) Restart(tb testing.TB, i int) {
	tb.Helper()
	c.checkMember(tb, i)
	c.do(tb, "restarting a member", func(ctx context.Context) error {
		if c.server.Running(i) {
			if err := c.server.Kill(i); err != nil {
				return err
			}
		}
		return c.server.Restart(ctx, i)
	})
}

// checkMember fails the test if there is no member i.
func (c *Cluster) checkMember(tb testing.TB, i int) {
	tb.Helper()
	if size := c.server.Size(); i < 0 || i >= size {
		tb.Fatalf("conclavetest: member %d: must be 0 to %d", i, size-1)
	}
}

// do calls fn with limited patience and fails the test if it fails.
func (c *Cluster) do(tb testing.TB, what string, fn func(ctx context.Context) error) {
	tb.Helper()
	ctx, cancel := limited(tb, memberPatience)
	defer cancel()
	if err := fn(ctx); err != nil {
		tb.Fatalf("conclavetest: %s: %v", what, err)
	}
}
