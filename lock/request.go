package lock

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/queue"
)

// RequestRelease asks whoever holds a lock of the given name, of whatever kind, to let
// go: their [Hold.ReleaseRequested] tells them, now or when they ask. It does not wait
// for it, and without a holder does nothing. It needs one read, and one write for each
// holder; what has no answer is repeated until ctx ends.
//
// A request is a key under the holder's lease, one for each of its keys that was ever asked
// for, and goes with the lease, not with the lock: a session that is asked for 500 different
// names has 500 such keys. So where etcd's
// authentication is on, the holder's user needs write access to it as well: etcd lets
// nobody attach a key to a lease, or revoke it, who may not write every key that the
// lease has. A holder without that can be asked, but then its session cannot put another
// key under this lease, and what it has stays until the lease expires. The roles are in
// docs/operations.md of the repository.
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
