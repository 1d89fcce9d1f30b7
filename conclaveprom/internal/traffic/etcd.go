// Package traffic has programs that make every metric appear, for tests of what is
// scraped.
package traffic

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/conclaveprom"
	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/shard"
	"github.com/conclave-go/conclave/watch"
)

// etcdTTL lets the first renewal come soon, and is not missed on a busy machine.
const etcdTTL = 6 * time.Second

// Etcd makes a program that has done, when it is returned, what it can do with locks,
// elections, leases and caches: granted, waited, lost, failed. A lock stays held and a
// cache open until stop is called. other is the client of an operator.
func Etcd(ctx context.Context, client, other *clientv3.Client, prefix string, m *conclaveprom.Metrics) (stop func(context.Context) error, err error) {
	p := &program{client: client, other: other, prefix: prefix, waiting: make(chan struct{}, 100)}
	renewed := make(chan struct{}, 100)
	p.session, err = lease.NewSession(ctx, client, lease.WithTTL(etcdTTL), lease.WithObserver(m.Lease()),
		lease.WithObserver(lease.Observer{
			Waiting: func(lease.Event) { p.waiting <- struct{}{} },
			Renewed: func(*lease.Lease, time.Duration) { signal(renewed) },
		}))
	if err != nil {
		return nil, err
	}
	p.cache, err = watch.NewCache(ctx, client, prefix+"config/", func(_ string, v []byte) (string, error) { return string(v), nil },
		watch.WithObserver(m.Watch()))
	if err != nil {
		return nil, err
	}
	select {
	case <-renewed:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.streams, p.shards = m.Watch(), m.Shard()
	for _, step := range []func(context.Context) error{p.handOver, p.fail, p.lose, p.lead, p.lag, p.share} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) error {
		return errors.Join(p.member.Close(ctx), p.sharing.Close(ctx), p.cache.Close(ctx), p.session.Close(ctx))
	}, nil
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

type program struct {
	client, other *clientv3.Client
	prefix        string
	session       *lease.Session
	cache         *watch.Cache[string]
	streams       watch.Observer
	shards        shard.Observer
	member        *shard.Member
	sharing       *lease.Session
	waiting       chan struct{}
}

func (p *program) mutex() (*lock.Mutex, error) { return lock.NewMutex(p.session, p.prefix+"job") }

// handOver has one goroutine hand a lock to another.
func (p *program) handOver(ctx context.Context) error {
	m, err := p.mutex()
	if err != nil {
		return err
	}
	first, err := m.Lock(ctx)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- m.Do(ctx, func(context.Context, *lock.Hold) error { return nil }) }()
	select {
	case <-p.waiting:
	case <-ctx.Done():
		return ctx.Err()
	}
	return errors.Join(first.Unlock(ctx), <-done)
}

// share has a group of one shard, which is given up too early once. Its session is another,
// whose locks are not counted.
func (p *program) share(ctx context.Context) (err error) {
	if p.sharing, err = lease.NewSession(ctx, p.client); err != nil {
		return err
	}
	owned := make(chan struct{}, 2)
	first := make(chan struct{}, 1)
	first <- struct{}{}
	p.member, err = shard.Join(ctx, p.sharing, p.prefix+"group", "a", func(ctx context.Context, o *shard.Ownership) error {
		signal(owned)
		select {
		case <-first: // at once
		case <-o.Leaving():
		case <-ctx.Done():
		}
		return nil
	}, shard.WithShards(1), shard.WithObserver(p.shards))
	for range 2 {
		if err != nil {
			return err
		}
		select {
		case <-owned:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return err
}

// fail tries a lock that is held.
func (p *program) fail(ctx context.Context) error {
	m, err := p.mutex()
	if err != nil {
		return err
	}
	return m.Do(ctx, func(ctx context.Context, _ *lock.Hold) error {
		if _, err := m.TryLock(ctx); !errors.Is(err, lock.ErrLocked) {
			return fmt.Errorf("a held lock was tried: %w", err)
		}
		return nil
	})
}

// lose has an operator revoke the lease under a lock.
func (p *program) lose(ctx context.Context) error {
	m, err := p.mutex()
	if err != nil {
		return err
	}
	l, err := p.session.Lease(ctx)
	if err != nil {
		return err
	}
	h, err := m.Lock(ctx)
	if err != nil {
		return err
	}
	if _, err := p.other.Revoke(ctx, l.ID()); err != nil {
		return err
	}
	select {
	case <-h.Context().Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// lead becomes the leader, for good.
func (p *program) lead(ctx context.Context) error {
	e, err := election.New(p.session, p.prefix+"leader")
	if err != nil {
		return err
	}
	_, err = e.Campaign(ctx, "me")
	return err
}

// lag has a stream that is too slow for what it is sent.
func (p *program) lag(ctx context.Context) error {
	reopened := make(chan struct{}, 1)
	key := p.prefix + "many"
	next, stop := iter.Pull2(watch.Stream(ctx, p.client, key, watch.WithBuffer(1), watch.WithObserver(p.streams),
		watch.WithObserver(watch.Observer{Reopened: func(*watch.Progress, watch.Reason) { signal(reopened) }})))
	defer stop()
	for {
		if _, err, _ := next(); err != nil {
			return err
		}
		select {
		case <-reopened:
			return nil
		default:
		}
		for range 3 {
			if _, err := p.other.Put(ctx, key, "v"); err != nil {
				return err
			}
		}
	}
}
