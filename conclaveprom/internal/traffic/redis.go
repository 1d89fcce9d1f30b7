package traffic

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/conclaveprom/redlockprom"
	"github.com/conclave-go/conclave/redlock"
)

// ttl is so long that no hold is lost because the machine is busy.
const ttl = time.Minute

// Redis makes a program do what can be done with a lock on three nodes: it is granted,
// waited for, tried in vain, extended, lost when the nodes are closed. fail has so many nodes fail that the others
// are no quorum; it is called in the middle.
func Redis(ctx context.Context, clients []redis.UniversalClient, m *redlockprom.Metrics, fail func()) error {
	waiting := make(chan struct{}, 1)
	nodes, err := redlock.NewNodes(clients, redlock.WithTTL(ttl), redlock.WithNodeTimeout(ttl/20),
		redlock.WithObserver(m.Redlock()), redlock.WithObserver(redlock.Observer{Waiting: func(redlock.Event) { signal(waiting) }}))
	if err != nil {
		return err
	}
	mutex, err := redlock.NewMutex(nodes, "job")
	if err != nil {
		return err
	}
	first, err := mutex.Lock(ctx)
	if err != nil {
		return err
	}
	if _, err := mutex.TryLock(ctx); !errors.Is(err, redlock.ErrLocked) {
		return fmt.Errorf("a held lock was tried: %w", err)
	}
	second := make(chan error, 1)
	var held *redlock.Hold
	go func() {
		var err error
		held, err = mutex.Lock(ctx)
		second <- err
	}()
	select {
	case <-waiting:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := errors.Join(first.Unlock(ctx), <-second); err != nil {
		return err
	}
	if err := held.Extend(ctx); err != nil {
		return err
	}
	fail()
	if err := held.Extend(ctx); err == nil {
		return errors.New("a hold was extended without a quorum")
	}
	other, err := redlock.NewMutex(nodes, "other")
	if err != nil {
		return err
	}
	if _, err := other.TryLock(ctx); !isQuorumError(err) {
		return fmt.Errorf("a lock was tried without a quorum: %w", err)
	}
	closing, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_ = nodes.Close(closing) // the nodes that have failed keep their removals going
	return nil
}

func isQuorumError(err error) bool {
	_, ok := errors.AsType[*redlock.QuorumError](err)
	return ok
}
