package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/watch"
)

// Below the prefix of all keys.
const (
	memberKey = "member/" // and the name of a member that is alive
	lockKey   = "lock/"   // and the number of a shard: its lock
	claimKey  = "claim/"  // and the number of a shard: who was the last to own it
)

const (
	// closeTimeout bounds a member's clean-up.
	closeTimeout = 10 * time.Second
	// retryAfter is how long an owner waits until it tries again to claim a shard.
	retryAfter = 100 * time.Millisecond
)

// claim is what an owner puts into etcd as the first thing it does.
type claim struct {
	Owner string
	Token lock.Token
}

// member is one of those who share the work. It has a client and a session of its own.
type member struct {
	name    string
	options options
	ledger  *ledger
	failed  func(error)
	client  *clientv3.Client
	session *lease.Session
	leave   context.CancelFunc
	running sync.WaitGroup // run
	serving sync.WaitGroup // all duties
}

// join makes a member, whose work begins. failed is told if it cannot go on. The caller
// closes it.
func join(ctx context.Context, name string, spec cluster.Spec, o options, l *ledger, failed func(error)) (*member, error) {
	client, err := spec.Dial()
	if err != nil {
		return nil, err
	}
	m := &member{name: name, options: o, ledger: l, failed: failed, client: client}
	if m.session, err = lease.NewSession(ctx, client, lease.WithTTL(o.ttl)); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	ctx, m.leave = context.WithCancel(context.WithoutCancel(ctx))
	m.running.Go(func() {
		if err := m.run(ctx); ctx.Err() == nil {
			failed(fmt.Errorf("%s: %w", name, err))
		}
	})
	return m, nil
}

// close gives up all shards, and then the membership.
func (m *member) close() error {
	m.leave()
	m.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(m.session.Close(ctx), m.client.Close())
}

// run follows who is a member, itself included, and serves the shards that are its own,
// until ctx ends.
func (m *member) run(ctx context.Context) error {
	reg, err := lease.Register(ctx, m.session, m.options.prefix+memberKey+m.name, "")
	if err != nil {
		return err
	}
	cache, err := watch.NewCache(ctx, m.client, m.options.prefix+memberKey, decodeNothing)
	if err != nil {
		return err
	}
	duties := make(map[int]*duty)
	defer func() {
		for _, d := range duties {
			d.end()
		}
		m.serving.Wait()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		_ = errors.Join(reg.Close(ctx), cache.Close(ctx)) // the session's end removes the key too
	}()
	for _, err := range cache.Changes(ctx) {
		if err != nil {
			return err
		}
		m.arrange(ctx, duties, members(cache.Snapshot(), m.options.prefix))
	}
	return nil
}

func decodeNothing(string, []byte) (struct{}, error) { return struct{}{}, nil }

// members returns who is registered.
func members(s watch.Snapshot[struct{}], prefix string) []string {
	var names []string
	for key := range s.All() {
		names = append(names, strings.TrimPrefix(key, prefix+memberKey))
	}
	return names
}

// arrange ends the duties for shards that belong to others by now, and begins those for
// its own. It does not wait: the locks see to the order.
func (m *member) arrange(ctx context.Context, duties map[int]*duty, alive []string) {
	for shard, owner := range owners(alive, m.options.load) {
		d := duties[shard]
		switch {
		case owner == m.name && (d == nil || d.ended):
			duties[shard] = m.begin(ctx, shard)
		case owner != m.name && d != nil:
			d.end()
		}
	}
}

// duty is that a member serves a shard, or waits until it may.
type duty struct {
	cancel context.CancelFunc
	ended  bool
}

func (d *duty) end() {
	d.ended = true
	d.cancel()
}

// begin serves a shard until the duty ends.
func (m *member) begin(ctx context.Context, shard int) *duty {
	d := &duty{}
	ctx, d.cancel = context.WithCancel(ctx)
	m.serving.Go(func() {
		if err := m.serve(ctx, shard); err != nil && ctx.Err() == nil {
			m.failed(fmt.Errorf("%s: shard %d: %w", m.name, shard, err))
		}
	})
	return d
}

// serve owns a shard whenever it can, until ctx ends. A lock that was lost is asked for
// again: if the shard is another's by then, that is about to be known.
func (m *member) serve(ctx context.Context, shard int) error {
	mutex, err := lock.NewMutex(m.session, fmt.Sprint(m.options.prefix, lockKey, shard), lock.WithOwner(m.name))
	if err != nil {
		return err
	}
	for {
		err := mutex.Do(ctx, func(ctx context.Context, h *lock.Hold) error { return m.own(ctx, shard, h) })
		if !errors.Is(err, lock.ErrLost) {
			return err
		}
	}
}

// own has a shard until ctx ends, because the shard is to go to another or the lock is
// lost. What it does for the shard goes here.
func (m *member) own(ctx context.Context, shard int, h *lock.Hold) error {
	t := m.ledger.begin(shard, m.name, h)
	defer m.ledger.end(t)
	value, err := json.Marshal(claim{m.name, h.Token()})
	if err != nil {
		return err
	}
	key := fmt.Sprint(m.options.prefix, claimKey, shard)
	for {
		if _, err = h.Txn(ctx).Then(clientv3.OpPut(key, string(value))).Commit(); err == nil {
			<-ctx.Done()
			return nil
		}
		select { // the reply may be lost, and the same put does no harm twice
		case <-ctx.Done():
			return nil
		case <-time.After(retryAfter):
		}
	}
}
