package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// leaderPoll is how often WaitLeader looks. Elections take a hundred times that.
const leaderPoll = time.Millisecond

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

// MoveLeader hands the leadership to the next running member and returns when
// the old leader follows it.
func (c *Cluster) MoveLeader(ctx context.Context) error {
	if c.External() {
		return ErrExternal
	}
	from := c.Leader()
	if from < 0 {
		return errors.New("etcdtest: move leader: there is none")
	}
	for k := 1; k < len(c.members); k++ {
		to := (from + k) % len(c.members)
		if c.Running(to) {
			return c.moveLeader(ctx, from, to)
		}
	}
	return errors.New("etcdtest: move leader: no other member is running")
}

func (c *Cluster) moveLeader(ctx context.Context, from, to int) error {
	s := c.members[from].server()
	if s == nil {
		return fmt.Errorf("etcdtest: move leader: %s: %w", c.members[from].name, errStopped)
	}
	// MoveLeader returns only at the end of its context if the transfer fails.
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := s.MoveLeader(ctx, uint64(s.MemberID()), uint64(c.members[to].id)); err != nil {
		return fmt.Errorf("etcdtest: move leader: %w", err)
	}
	return nil
}

// Compact compacts the store at its current revision: watches from before it
// fail, as do reads.
func (c *Cluster) Compact(ctx context.Context) error {
	if c.External() {
		return ErrExternal
	}
	return c.administer(func(admin *clientv3.Client) error {
		resp, err := admin.Get(ctx, "\x00", clientv3.WithCountOnly())
		if err != nil {
			return fmt.Errorf("etcdtest: compact: %w", err)
		}
		if _, err := admin.Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
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
