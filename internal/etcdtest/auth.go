package etcdtest

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The administrator after [Cluster.EnableAuth].
const (
	RootUser     = "root"
	RootPassword = "root-password"
)

// EnableAuth creates [RootUser] and turns authentication on: from then on
// clients need [WithUser].
func (c *Cluster) EnableAuth(ctx context.Context) error {
	if c.External() {
		return ErrExternal
	}
	err := c.administer(func(admin *clientv3.Client) error {
		if _, err := admin.UserAdd(ctx, RootUser, RootPassword); err != nil {
			return err
		}
		if _, err := admin.UserGrantRole(ctx, RootUser, "root"); err != nil {
			return err
		}
		_, err := admin.AuthEnable(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("etcdtest: enable auth: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.auth = true
	return nil
}

// AddUser creates a user who may read and write the keys that begin with
// prefix, and no others.
func (c *Cluster) AddUser(ctx context.Context, name, password, prefix string) error {
	if c.External() {
		return ErrExternal
	}
	err := c.administer(func(admin *clientv3.Client) error {
		if _, err := admin.RoleAdd(ctx, name); err != nil {
			return err
		}
		end := clientv3.GetPrefixRangeEnd(prefix)
		perm := clientv3.PermissionType(clientv3.PermReadWrite)
		if _, err := admin.RoleGrantPermission(ctx, name, prefix, end, perm); err != nil {
			return err
		}
		if _, err := admin.UserAdd(ctx, name, password); err != nil {
			return err
		}
		_, err := admin.UserGrantRole(ctx, name, name)
		return err
	})
	if err != nil {
		return fmt.Errorf("etcdtest: add user %q: %w", name, err)
	}
	return nil
}
