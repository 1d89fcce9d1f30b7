package lock

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/queue"
)

// RequestRelease asks whoever holds a lock of the given name, of whatever kind, to let go:
// their [Hold.ReleaseRequested] tells them, now or when they call it. It does not wait for
// the release, and does nothing if there is no holder. It needs one read, and one write for
// each holder; requests without an answer are repeated until ctx ends.
//
// A request is a key under the holder's lease, one for each of its keys that was ever asked
// for. It goes with the lease, not with the lock: a session that is asked for 500 different
// names has 500 such keys. So if authentication is on in etcd, the holder's user also needs
// write access to it: etcd lets a user attach a key to a lease, or revoke the lease, only
// if the user may write every key of that lease. A holder without that access can be asked,
// but then its session cannot put another key under this lease, and what it has stays until
// the lease expires. The roles are in docs/operations.md of the repository.
//
// Mutexes with [WithEtcdLayout] are not asked.
func RequestRelease(ctx context.Context, client *clientv3.Client, name string) error {
	if client == nil {
		return errors.New("lock: client is nil: must be a connected *clientv3.Client")
	}
	if err := errors.Join(checkContext(ctx), checkName(name)); err != nil {
		return err
	}
	entries, err := inspect(ctx, client, name, config{})
	if err != nil {
		return fmt.Errorf("lock: requesting the release of %q: %w", name, err)
	}
	for _, e := range entries {
		if !e.Held() {
			continue
		}
		_, err := queue.Request(ctx, client, queue.Occupant{Key: e.Key, CreateRevision: e.Token.Revision(), Lease: e.Lease})
		if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) { // gone with its lease
			return fmt.Errorf("lock: requesting the release of %q from %q: %w", name, e.Owner, err)
		}
	}
	return nil
}
