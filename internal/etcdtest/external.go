package etcdtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// externalTimeout bounds what is asked of an external cluster on the side.
const externalTimeout = 10 * time.Second

func newExternal(endpoints []string) *Cluster {
	c := &Cluster{}
	for _, e := range endpoints {
		c.endpoints = append(c.endpoints, strings.TrimPrefix(strings.TrimSpace(e), "http://"))
	}
	c.minTTL = sync.OnceValues(c.askMinTTL)
	return c
}

// askMinTTL grants a lease that is shorter than any server allows, and looks
// what it was given.
func (c *Cluster) askMinTTL() (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), externalTimeout)
	defer cancel()
	var ttl time.Duration
	err := c.administer(func(admin *clientv3.Client) error {
		lease, err := admin.Grant(ctx, 1)
		if err != nil {
			return err
		}
		ttl = time.Duration(lease.TTL) * time.Second
		_, err = admin.Revoke(ctx, lease.ID)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("etcdtest: minimum TTL: %w", err)
	}
	return ttl, nil
}

// clean deletes what a test has left under its prefix.
func (c *Cluster) clean(prefix string) error {
	ctx, cancel := context.WithTimeout(context.Background(), externalTimeout)
	defer cancel()
	return c.administer(func(admin *clientv3.Client) error {
		_, err := admin.Delete(ctx, prefix, clientv3.WithPrefix())
		return err
	})
}
