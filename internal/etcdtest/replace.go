package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// reconfigureTimeout bounds an attempt to change the membership, which hangs
	// where it meets an election.
	reconfigureTimeout = 2 * time.Second
	reconfigurePause   = 20 * time.Millisecond
)

// Replace puts a new member in the place of member i, as an operator does with a
// machine that is lost: same name and addresses, another ID, no data. It takes a
// majority without i, and returns when the new member serves.
func (c *Cluster) Replace(ctx context.Context, i int) error {
	m, err := c.member(i)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	m.kill()
	if err := insist(ctx, func(ctx context.Context) error {
		return c.administer(func(admin *clientv3.Client) error { return m.reregister(ctx, admin) })
	}); err != nil {
		return fmt.Errorf("etcdtest: replace %s: %w", m.name, err)
	}
	if err := os.RemoveAll(m.dir); err != nil {
		return fmt.Errorf("etcdtest: replace %s: %w", m.name, err)
	}
	m.joins = true
	return c.Restart(ctx, i)
}

// reregister has the cluster forget a stopped member and expect another at its address. An
// earlier attempt may have come through after all.
func (m *member) reregister(ctx context.Context, admin *clientv3.Client) error {
	list, err := admin.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, other := range list.Members {
		switch {
		case other.PeerURLs[0] != m.advertised.String():
		case other.ID != uint64(m.id):
			return nil
		default:
			if _, err := admin.MemberRemove(ctx, other.ID); err != nil {
				return err
			}
		}
	}
	_, err = admin.MemberAdd(ctx, []string{m.advertised.String()})
	return err
}

// insist tries until it works, or ctx ends.
func insist(ctx context.Context, try func(ctx context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, reconfigureTimeout)
		err := try(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(reconfigurePause):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}
