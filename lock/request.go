package lock

import (
	"context"
	"errors"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/queue"
)

// RequestRelease asks whoever holds a lock of the given name, of whatever kind, to let go:
// their [Hold.ReleaseRequested] tells them, now or when they call it. It does not wait for
// the release, and does nothing if there is no holder. It needs one read, and if there are
// holders the grant of a lease and one write for each of them; requests without an answer are
// repeated until ctx ends.
//
// A request is a key that names the hold, one for each key of a lock that was asked for, and
// stays for an hour: a holder that does not listen until then is not told. It is under a lease
// of its own, so the holder needs no write access to it. The roles are in docs/operations.md
// of the repository.
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
	holders := slices.DeleteFunc(entries, func(e Entry) bool { return !e.Held() })
	if len(holders) == 0 {
		return nil
	}
	under, err := queue.GrantRequests(ctx, client)
	if err != nil {
		return fmt.Errorf("lock: requesting the release of %q: %w", name, err)
	}
	for _, e := range holders {
		_, err := queue.Request(ctx, client, queue.Occupant{Key: e.Key, CreateRevision: e.Token.Revision()}, under)
		if err != nil {
			return fmt.Errorf("lock: requesting the release of %q from %q: %w", name, e.Owner, err)
		}
	}
	return nil
}
