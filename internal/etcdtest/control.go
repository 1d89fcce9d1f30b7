package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// leaderPoll is how often WaitLeader looks. Elections take a hundred times that.
	leaderPoll = time.Millisecond
	// transferTimeout bounds a transfer of the leadership, which etcd itself gives up after
	// an election timeout, and goes on waiting for.
	transferTimeout = 5 * electionMs * time.Millisecond
)

// Leader returns the index of the member that leads, or -1: with several that
// say so, the one of the latest term it has applied. A member that was just cut
// off may still be it, and a successor's term may lag; [Cluster.WaitLeader]
// with an exception is what tells them apart.
func (c *Cluster) Leader() int {
	leader, latest := -1, uint64(0)
	for i, m := range c.members {
		s := m.server()
		if s != nil && s.Leader() == s.MemberID() && s.Term() > latest {
			leader, latest = i, s.Term()
		}
	}
	return leader
}

// WaitLeader waits until a member leads that is none of those excepted, and
// returns its index.
func (c *Cluster) WaitLeader(ctx context.Context, except ...int) (int, error) {
	if c.External() {
		return -1, ErrExternal
	}
	ticker := time.NewTicker(leaderPoll)
	defer ticker.Stop()
	for {
		if i := c.Leader(); i >= 0 && !slices.Contains(except, i) {
			return i, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return -1, fmt.Errorf("etcdtest: no leader: %w", ctx.Err())
		}
	}
}

// MoveLeader hands the leadership to the next running member and returns when another member has
// it. etcd gives up without a word if that takes longer than an election timeout, as it may on a busy
// machine; then it is tried again.
func (c *Cluster) MoveLeader(ctx context.Context) error {
	if c.External() {
		return ErrExternal
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	from, err := c.WaitLeader(ctx)
	if err != nil {
		return err
	}
	to, err := c.runningAfter(from)
	if err != nil {
		return err
	}
	for leader := from; leader == from; {
		c.transfer(ctx, from, to)
		if ctx.Err() != nil {
			return fmt.Errorf("etcdtest: member %d leads on: %w", from, ctx.Err())
		}
		if leader, err = c.WaitLeader(ctx); err != nil {
			return err
		}
	}
	return nil
}

// runningAfter returns the next running member.
func (c *Cluster) runningAfter(i int) (int, error) {
	for k := 1; k < c.voters(); k++ {
		if next := (i + k) % c.voters(); c.Running(next) {
			return next, nil
		}
	}
	return -1, errors.New("etcdtest: move leader: no other member is running")
}

// transfer asks a member to hand its leadership over. Who leads afterwards says whether it did.
func (c *Cluster) transfer(ctx context.Context, from, to int) {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	if s := c.members[from].server(); s != nil {
		_ = s.MoveLeader(ctx, uint64(s.MemberID()), uint64(c.members[to].id))
	}
}

// Compact compacts the store at its current revision: watches from before it
// fail, as do reads.
func (c *Cluster) Compact(ctx context.Context) error {
	if c.External() {
		return ErrExternal
	}
	return c.administer(func(admin *clientv3.Client) error {
		var present int64
		err := Retry(ctx, func(ctx context.Context) error {
			resp, err := admin.Get(ctx, "\x00", clientv3.WithCountOnly())
			if err == nil {
				present = resp.Header.Revision
			}
			return err
		})
		if err == nil {
			err = retryOnce(ctx, rpctypes.ErrCompacted, func(ctx context.Context) error {
				_, err := admin.Compact(ctx, present, clientv3.WithCompactPhysical())
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("etcdtest: compact: %w", err)
		}
		return nil
	})
}

// administer runs fn with a client of its own, as root if that is needed.
func (c *Cluster) administer(fn func(*clientv3.Client) error) error {
	opts := []ClientOption{WithFastReconnect()}
	c.mu.Lock()
	if c.auth {
		opts = append(opts, WithUser(RootUser, RootPassword))
	}
	c.mu.Unlock()
	admin, err := c.NewClient(opts...)
	if err != nil {
		return err
	}
	return errors.Join(fn(admin), admin.Close())
}
