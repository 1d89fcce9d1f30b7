package redistest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// slots is how many a Redis Cluster has.
const slots = 16384

// NewRedisCluster starts a Redis Cluster of so many masters, at least three, each with a
// replica: that of node i is node i+masters. A replica takes over when its master has not
// answered for a second.
func NewRedisCluster(tb testing.TB, masters int) *Cluster {
	tb.Helper()
	c := New(tb, 2*masters, func(cfg *config) { cfg.cluster, cfg.masters = true, masters })
	for i := masters; i < c.Size(); i++ {
		c.awaitReplica(tb, i, nil)
	}
	return c
}

// join makes one Redis Cluster of all nodes, of which the first so many are masters.
func (c *Cluster) join(ctx context.Context, masters int) error {
	for i, n := range c.nodes {
		if err := n.admin.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
		if i < masters {
			if err := n.admin.ClusterAddSlotsRange(ctx, i*slots/masters, (i+1)*slots/masters-1).Err(); err != nil {
				return err
			}
		}
		host, port, err := net.SplitHostPort(n.Addr())
		if err != nil {
			return err
		}
		if err := c.nodes[0].admin.ClusterMeet(ctx, host, port).Err(); err != nil {
			return err
		}
	}
	if err := c.awaitAll(ctx, fmt.Sprintf("cluster_known_nodes:%d\r\n", len(c.nodes))); err != nil {
		return err
	}
	for i, n := range c.nodes[masters:] {
		id, err := c.nodes[i].admin.ClusterMyID(ctx).Result()
		if err != nil {
			return err
		}
		if err := n.admin.ClusterReplicate(ctx, id).Err(); err != nil {
			return err
		}
	}
	return c.awaitAll(ctx, "cluster_state:ok\r\n")
}

// awaitAll returns when all nodes say something of their cluster.
func (c *Cluster) awaitAll(ctx context.Context, want string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, n := range c.nodes {
		for {
			info, err := n.admin.ClusterInfo(ctx).Result()
			if err != nil {
				return err
			}
			if strings.Contains(info, want) {
				break
			}
			select {
			case <-time.After(awaitEvery):
			case <-ctx.Done():
				return fmt.Errorf("no %q from %s: %w", strings.TrimSpace(want), n.Addr(), ctx.Err())
			}
		}
	}
	return nil
}
