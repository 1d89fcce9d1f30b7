package partitions

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// ttl is for all, an unusually short one. What is measured grows little with it.
const ttl = 3 * time.Second

// library is one under comparison.
type library struct {
	name, lacks string
	// join makes a contender for the lock of a name.
	join func(ctx context.Context, client *clientv3.Client, name string) (contender, error)
}

func libraries() []library {
	return []library{
		{"conclave", "", joinConclave},
		{"clientv3/concurrency", "one holder at a time", joinOfficial},
	}
}

// contender is a session of its own and a lock.
type contender struct {
	// lock takes the lock and returns what is closed when it is lost.
	lock func(ctx context.Context) (lost <-chan struct{}, err error)
	// leave ends the session, lost or not.
	leave func(ctx context.Context) error
}

func joinConclave(ctx context.Context, client *clientv3.Client, name string) (contender, error) {
	s, err := lease.NewSession(ctx, client, lease.WithTTL(ttl))
	if err != nil {
		return contender{}, err
	}
	m, err := lock.NewMutex(s, name)
	if err != nil {
		return contender{}, errors.Join(err, s.Close(ctx))
	}
	take := func(ctx context.Context) (<-chan struct{}, error) {
		h, err := m.Lock(ctx)
		if err != nil {
			return nil, err
		}
		return h.Context().Done(), nil
	}
	return contender{take, s.Close}, nil
}

func joinOfficial(ctx context.Context, client *clientv3.Client, name string) (contender, error) {
	s, err := concurrency.NewSession(client, concurrency.WithTTL(int(ttl/time.Second)), concurrency.WithContext(context.WithoutCancel(ctx)))
	if err != nil {
		return contender{}, err
	}
	take := func(ctx context.Context) (<-chan struct{}, error) {
		return s.Done(), concurrency.NewMutex(s, name).Lock(ctx)
	}
	leave := func(context.Context) error {
		if err := s.Close(); !errors.Is(err, rpctypes.ErrLeaseNotFound) { // it may have expired
			return err
		}
		return nil
	}
	return contender{take, leave}, nil
}
