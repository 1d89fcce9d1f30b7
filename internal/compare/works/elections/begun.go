package elections

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	switched "github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
)

// begun is what was begun and has to be ended.
type begun struct {
	enders []func(ctx context.Context) error
}

// atEnd adds what is to be done at the end, before what was added earlier.
func (b *begun) atEnd(end func(ctx context.Context) error) { b.enders = append(b.enders, end) }

// end ends all, the last first. Contexts that were waited with must be done.
func (b *begun) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	var errs []error
	for _, end := range slices.Backward(b.enders) {
		errs = append(errs, end(ctx))
	}
	return errors.Join(errs...)
}

// conclave returns an election of Conclave's, whose session is closed at the end.
func (b *begun) conclave(ctx context.Context, client *clientv3.Client, name string) (*election.Election, error) {
	s, err := lease.NewSession(ctx, client, lease.WithTTL(ttl))
	if err != nil {
		return nil, err
	}
	b.atEnd(s.Close)
	return election.New(s, name)
}

// switched returns an election of ours under the official client's names, whose session is
// closed at the end.
func (b *begun) switched(ctx context.Context, client *clientv3.Client, name string) (candidate, error) {
	s, err := switched.NewSession(client, switched.WithTTL(int(ttl/time.Second)), switched.WithContext(context.WithoutCancel(ctx)))
	if err != nil {
		return nil, err
	}
	b.atEnd(closing(s))
	return switched.NewElection(s, name), nil
}

// official returns an election of the official client's, whose session is closed at the
// end.
func (b *begun) official(ctx context.Context, client *clientv3.Client, name string) (*concurrency.Election, error) {
	s, err := concurrency.NewSession(client, concurrency.WithTTL(int(ttl/time.Second)), concurrency.WithContext(context.WithoutCancel(ctx)))
	if err != nil {
		return nil, err
	}
	b.atEnd(closing(s))
	return concurrency.NewElection(s, name), nil
}

// closing closes a session, whose lease may have expired.
func closing(s interface{ Close() error }) func(context.Context) error {
	return func(context.Context) error {
		if err := s.Close(); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return err
		}
		return nil
	}
}
