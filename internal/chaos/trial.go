package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/chaos/worker"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/servers"
	"github.com/conclave-go/conclave/internal/spec"
	"github.com/conclave-go/conclave/internal/tempdir"
	"github.com/conclave-go/conclave/shard"
)

const (
	// hold and think are what workers take on average for a section and until the next.
	hold  = 15 * time.Millisecond
	think = 60 * time.Millisecond
	// busyHold and busyThink are those of a busy system.
	busyHold  = 120 * time.Millisecond
	busyThink = 10 * time.Millisecond
	// hang is how long the lab waits for what has to happen; only a break takes that long.
	hang = 2 * time.Minute
)

// trial is one system in one scenario: a lock, three workers and what they report.
type trial struct {
	System System
	Lock   string
	locks  []string // Lock, or those of the shards of the group of this name

	arena  *arena
	ttl    time.Duration
	log    *history.Log
	hands  []*hand
	random *rand.Rand
	etcd   *servers.Etcd  // nil if the lock is on Redis
	redis  *servers.Redis // nil if it is on etcd

	watching  sync.WaitGroup
	stopWatch context.CancelFunc
	history   spec.History // of the trial's keys
	traces    *tempdir.Dir // a file for each worker; nil if the specification is not asked
}

// newTrial starts the workers and returns when they pass the lock on. The
// caller closes the trial, even when newTrial fails.
func newTrial(ctx context.Context, a *arena, s System, e Entry, seed uint64) (*trial, error) {
	scenario, ttl, plan := e.Scenario, e.TTL, 0
	if e.has(killPlanner) {
		plan = shard.MaxShards
	}
	t := &trial{
		System: s, Lock: fmt.Sprintf("chaos/%s/%s/l", scenario, s.Name), arena: a, ttl: ttl, log: history.NewLog(),
		random: rand.New(rand.NewPCG(seed, 1)), stopWatch: func() {},
	}
	t.locks = s.locks(t.Lock)
	for _, name := range t.locks {
		a.resource.record(name, t.log)
	}
	var err error
	if s.specified() {
		if t.traces, err = tempdir.Make("chaos"); err != nil {
			return t, err
		}
	}
	addrs, err := t.servers(ctx)
	if err != nil {
		return t, err
	}
	for i := range crew {
		j := worker.Job{
			Kind: s.Kind, Lock: t.Lock, TTL: ttl, Hold: hold, Think: think, Resource: a.resource.addr, Seed: t.random.Uint64() >> 1,
			Shards: s.Shards, Plan: plan,
		}
		if s.Busy {
			j.Hold, j.Think = busyHold, busyThink
		}
		if s.Delay {
			j.Delay = ttl + time.Second
		}
		h, err := newHand(t, i, addrs, j)
		t.hands = append(t.hands, h)
		if err != nil {
			return t, err
		}
		if err := h.start(); err != nil {
			return t, err
		}
	}
	if err := t.ready(ctx); err != nil {
		return t, err
	}
	return t, t.await(ctx, "a first round of the lock", crew)
}

// ready returns when all workers have begun.
func (t *trial) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, hang, fmt.Errorf("not all workers have begun within %s", hang))
	defer cancel()
	return together(len(t.hands), func(i int) error {
		_, err := await(ctx, t.log, t.hands[i].name(), 0, func(e history.Event) bool { return e.Kind == history.Ready })
		return err
	})
}

// servers returns the addresses of those that the lock is kept on.
func (t *trial) servers(ctx context.Context) (addrs []string, err error) {
	if !t.System.onEtcd() {
		if t.redis, err = t.arena.redis(ctx, t.System.Nodes); err != nil {
			return nil, err
		}
		return t.redis.Addrs()[:t.System.Nodes], nil
	}
	if t.etcd, err = t.arena.etcd(ctx); err != nil {
		return nil, err
	}
	return t.etcd.Endpoints(), t.watch(ctx)
}

// await waits until the lock has been granted n times more, each of them if they are
// several, or nobody is left to take it.
func (t *trial) await(ctx context.Context, what string, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, hang, fmt.Errorf("no sign of %s within %s", what, hang))
	defer cancel()
	mark, left := t.log.Mark(), make(map[string]int)
	for _, name := range t.locks {
		left[name] = n
	}
	for len(left) > 0 {
		if !slices.ContainsFunc(t.hands, func(h *hand) bool { return !h.gone() }) {
			return fmt.Errorf("no sign of %s, and no worker is left", what)
		}
		e, err := t.log.Await(ctx, mark, func(e history.Event) bool {
			mark++
			return e.Kind == history.Granted || e.Kind == history.Exited
		})
		if err != nil {
			return fmt.Errorf("%w (%v)", err, slices.Sorted(maps.Keys(left)))
		}
		if e.Kind == history.Exited {
			continue
		}
		if left[e.Lock]--; left[e.Lock] <= 0 {
			delete(left, e.Lock)
		}
	}
	return nil
}

// blame adds to an error how each worker has ended that was not killed.
func (t *trial) blame(err error) error {
	for _, e := range t.log.Events() {
		if err != nil && e.Kind == history.Exited && e.Detail != "" && !strings.Contains(err.Error(), e.Detail) {
			err = fmt.Errorf("%w; %s", err, e.Detail)
		}
	}
	return err
}

// tell gives all workers an order.
func (t *trial) tell(order string) {
	for _, h := range t.hands {
		h.tell(order)
	}
}

// note adds an event of the lab's own.
func (t *trial) note(e history.Event) {
	if e.At == 0 {
		e.At = process.Now()
	}
	e.Lock = cmp.Or(e.Lock, t.Lock)
	t.log.Add(e)
}

// finish lets the workers end in good order and reads etcd's history to its end.
func (t *trial) finish(ctx context.Context) error {
	var errs []error
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, h := range t.hands {
		all.Go(func() {
			err := h.close()
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	all.Wait()
	if t.etcd != nil && ctx.Err() == nil {
		errs = append(errs, t.catchUp(ctx))
	}
	t.stopWatch()
	t.watching.Wait()
	return errors.Join(append(errs, t.specify())...)
}
