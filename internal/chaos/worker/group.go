package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/shard"
)

// KindShards is a group of package shard: a worker is a member, and each shard a lock. A
// shard whose hold is given up is moved by hand to another member.
const KindShards = "shards"

// moveAgain is after what time a shard that is still here is moved to another.
const moveAgain = 500 * time.Millisecond

// group is a lock for each shard, all of one member.
type group interface {
	// shard returns the locker of a shard.
	shard(id int) Locker
	Close(ctx context.Context) error
}

// ShardLock is the name of a shard's lock in a group.
func ShardLock(name string, id int) string { return fmt.Sprintf("%s/shard/%d", name, id) }

// members is a member of a group of package shard.
type members struct {
	client  *clientv3.Client
	session *lease.Session
	member  *shard.Member
	router  *shard.Router
	name    string
	gate    *Gate // of the first shard
	grants  []chan *owned
	end     <-chan struct{} // closed when the process is to end

	mu    sync.Mutex
	owned map[tenure]*owned
}

// tenure tells ownerships apart: shards that are asked for together have one token.
type tenure struct {
	shard shard.ID
	token lock.Token
}

// owned is an ownership as a hold.
type owned struct {
	*shard.Ownership

	m        *members
	done     chan struct{} // closed when the function is to return
	released chan struct{} // closed when the shard was released
}

// joinMembers joins a group whose first shards are locks. A group that has more of them
// leaves the others to nobody.
func joinMembers(ctx context.Context, client *clientv3.Client, o lease.Observer, j Job, gate *Gate) (group, error) {
	s, err := lease.NewSession(ctx, client, lease.WithTTL(j.TTL), lease.WithObserver(o))
	if err != nil {
		return nil, err
	}
	m := &members{client: client, session: s, name: j.Lock, gate: gate, end: ctx.Done(), owned: make(map[tenure]*owned)}
	for range j.Shards {
		m.grants = append(m.grants, make(chan *owned))
	}
	opts := []shard.Option{
		shard.WithShards(max(j.Shards, j.Plan)), shard.WithAssigner(first(j.Shards)), shard.WithDrainTimeout(2 * j.TTL),
		shard.WithObserver(shard.Observer{Released: m.gone}),
	}
	if m.member, err = shard.Join(ctx, s, j.Lock, j.Worker, m.own, opts...); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	if m.router, err = shard.NewRouter(ctx, client, j.Lock); err != nil {
		return nil, errors.Join(err, m.member.Close(ctx), s.Close(ctx))
	}
	return m, nil
}

// first assigns the first n shards as by default, and the others to nobody.
func first(n int) shard.Assigner {
	balanced := shard.Balanced()
	return shard.AssignFunc(func(in shard.Input) (shard.Plan, error) {
		rest := make([]string, in.Shards-n)
		in.Shards, in.Owners = n, in.Owners[:n]
		p, err := balanced.Assign(in)
		p.Owners = append(p.Owners, rest...)
		return p, err
	})
}

// own offers a shard to its worker until that has taken it and given it up.
func (m *members) own(ctx context.Context, o *shard.Ownership) error {
	h := &owned{Ownership: o, m: m, done: make(chan struct{}), released: make(chan struct{})}
	m.mu.Lock()
	m.owned[tenure{o.Shard(), o.Token()}] = h
	m.mu.Unlock()
	select {
	case m.grants[o.Shard()] <- h:
		<-h.done
	case <-ctx.Done():
	case <-o.Leaving():
	}
	return nil
}

// gone notes that an ownership is over.
func (m *members) gone(e shard.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := tenure{e.Shard, e.Token}
	if h := m.owned[is]; h != nil {
		close(h.released)
		delete(m.owned, is)
	}
}

func (m *members) shard(id int) Locker { return shardLocker{m, id} }

// Close leaves the group.
func (m *members) Close(ctx context.Context) error {
	return errors.Join(m.router.Close(ctx), m.member.Close(ctx), m.session.Close(ctx))
}

// shardLocker is a shard as a lock.
type shardLocker struct {
	m  *members
	id int
}

// Lock waits until the member owns the shard.
func (l shardLocker) Lock(ctx context.Context) (Hold, error) {
	select {
	case h := <-l.m.grants[l.id]:
		return h, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close does nothing: the group is closed.
func (l shardLocker) Close(context.Context) error { return nil }

// Token returns that of the ownership.
func (h *owned) Token() int64                     { return int64(h.Ownership.Token()) }
func (h *owned) Done() <-chan struct{}            { return h.Context().Done() }
func (h *owned) Remaining() (time.Duration, bool) { return h.Ownership.Remaining(), true }
func (h *owned) Phantom() bool                    { return false }

// Unlock has the shard moved to another member, and gives it up when that waits for it, or
// at the end.
func (h *owned) Unlock(ctx context.Context) error {
	next := ""
	for h.Err() == nil && !isClosed(h.Leaving()) && !isClosed(h.m.end) && ctx.Err() == nil {
		next = h.m.successor(h.Shard(), next)
		h.move(ctx, next)
	}
	lost := h.Err()
	close(h.done)
	select {
	case <-h.released:
		return lost
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// move moves the shard to a member, and waits for a while for that to begin.
func (h *owned) move(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, moveAgain)
	defer cancel()
	if name != "" {
		_ = shard.Move(ctx, h.m.client, h.m.name, h.Shard(), name) // again if it fails
	}
	select {
	case <-h.Leaving():
	case <-h.Done():
	case <-h.m.end:
	case <-ctx.Done():
	}
}

// successor returns the other member that a shard is moved to, "" if there is none.
func (m *members) successor(id shard.ID, before string) string {
	var others []string
	for name := range m.router.Members() {
		if name != m.member.Name() {
			others = append(others, name)
		}
	}
	heir := ""
	if id == 0 {
		heir = m.gate.givesTo()
	}
	return choose(others, heir, before)
}

// choose chooses the heir, if it is there; else who was chosen before, since one who is
// not yet ready may be soon; else anybody.
func choose(others []string, heir, before string) string {
	switch {
	case slices.Contains(others, heir):
		return heir
	case slices.Contains(others, before):
		return before
	case len(others) == 0:
		return ""
	default:
		return others[rand.IntN(len(others))]
	}
}

// workAll has a worker for each shard of a group, of which the first heeds the gate.
func (w *Worker) workAll(ctx context.Context, j Job, g group, register func(lock string) Register) error {
	var all sync.WaitGroup
	defer all.Wait()
	for id := range j.Shards {
		one := *w
		name := ShardLock(j.Lock, id)
		one.Locker, one.Register = g.shard(id), register(name)
		one.Random = rand.New(rand.NewPCG(j.Seed, uint64(id)))
		one.Emit = func(e history.Event) { e.Lock = name; w.Emit(e) }
		if id > 0 {
			one.Gate = NewGate()
		}
		var err error
		if one.Resource, err = DialResource(ctx, j.Resource, name, j.Worker); err != nil {
			return err
		}
		all.Go(func() { one.Run(ctx) })
	}
	return nil
}
