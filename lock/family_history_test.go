package lock_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lock"
)

const (
	// familyHistoryTime is how long a history of all kinds is recorded unless
	// historyVariable says otherwise.
	familyHistoryTime = 3 * time.Second
	historyPermits    = 5
)

// TestHistoriesOfAnyKindUnderFaultsAreThoseOfSharedLocks lets workers acquire locks of
// every kind, read, write and release while clients are cut off, members die and
// operators interfere, and then looks for a sequential order in which such locks with
// expiry could have done the same.
func TestHistoriesOfAnyKindUnderFaultsAreThoseOfSharedLocks(t *testing.T) {
	t.Parallel()
	length, random := historyChoices(t, familyHistoryTime)
	r := &familyRun{historyRun: newHistoryRun(t)}
	r.names = []string{"rw", "semaphore", "x", "y", "z"}
	h := &sharedHistory{history: r.historyRun.h, gone: map[string]int64{}}
	r.h = h
	stopWatching := r.watchEnds()
	var workers []*familyWorker
	for i := range historyWorkers {
		w := &historyWorker{historyRun: r.historyRun, id: i, ttl: time.Duration(1+i/6) * time.Second, random: random(uint64(i)), net: r.cluster.Net(t)}
		require.NoError(t, w.join(guarded(t)))
		r.workers = append(r.workers, w)
		workers = append(workers, &familyWorker{w, r})
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var all sync.WaitGroup
	for _, w := range workers {
		all.Go(func() { w.work(ctx) })
	}
	for i, mischief := range []func(context.Context, *rand.Rand){
		r.hunt, r.hunt, r.breakNetworks, r.breakMembers, r.interfere,
	} {
		all.Go(func() { mischief(ctx, random(uint64(100+i))) })
	}
	all.Wait()
	r.recover()
	stopWatching()
	h.check(t)
}

// familyRun is what the workers of one history share.
type familyRun struct {
	*historyRun

	h *sharedHistory
}

// watchEnds notes when the entries of locks are seen to be gone, until the returned
// function is called.
func (r *familyRun) watchEnds() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		created, next := map[string]int64{}, int64(1)
		for ctx.Err() == nil { // a watch ends without a leader, or if what it is to begin with is compacted
			for resp := range r.operator.Watch(clientv3.WithRequireLeader(ctx), "", clientv3.WithPrefix(), clientv3.WithRev(next)) {
				if resp.CompactRevision > 0 { // entries may have gone and come unseen
					clear(created)
				}
				next = max(next, resp.CompactRevision)
				for _, ev := range resp.Events {
					next = ev.Kv.ModRevision + 1
					r.note(ev, created)
				}
			}
			pause(ctx, 10*time.Millisecond)
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// note notes an event of an entry. created has when each entry was created.
func (r *familyRun) note(ev *clientv3.Event, created map[string]int64) {
	key := string(ev.Kv.Key)
	if ev.Type == clientv3.EventTypePut {
		created[key] = ev.Kv.CreateRevision
		return
	}
	if created[key] == 0 { // the event was compacted before it was seen
		return
	}
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	past := standings{}
	r.h.gone[goneKey(past.queueOf(key), lock.Token(created[key]<<20))] = r.h.now()
}

// recover requires that after the faults a newcomer gets all of each lock and that
// nothing is left in the queues.
func (r *familyRun) recover() {
	began, ctx := time.Now(), guarded(r.t)
	newcomer := newPeer(r.t, r.cluster)
	all := func(how how, name string) tryLock {
		return func(ctx context.Context) (*lock.Hold, error) { return how(ctx, newcomer, name) }
	}
	multi, err := lock.NewMulti(newcomer.Session, r.names[2:])
	require.NoError(r.t, err)
	for _, a := range []ask{
		{all(writing, "rw"), []string{"rw"}, manyReaders, manyReaders, nil},
		{all(permits(historyPermits, historyPermits), "semaphore"), []string{"semaphore"}, historyPermits, historyPermits, nil},
		{multi.Lock, r.names[2:], 1, 1, nil},
	} {
		call := r.h.now()
		hold, err := a.take(ctx)
		require.NoError(r.t, err, "a newcomer acquires %v", a.names)
		shares := r.begin(historyWorkers, call, hold, a)
		require.NoError(r.t, hold.Unlock(ctx))
		r.end(shares, hold, r.h.now())
	}
	r.t.Logf("recovered in %v", time.Since(began).Round(time.Millisecond))
	for _, name := range r.names { // with the sessions still alive
		awaitQueue(r.t, r.operator, name, 0)
	}
	for _, w := range r.workers {
		assert.NoError(r.t, w.leave(ctx))
	}
}

// begin records a grant.
func (r *familyRun) begin(worker int, call int64, hold *lock.Hold, a ask) []share {
	ret := r.h.now()
	var shares []share
	for _, name := range a.names {
		r.h.addShared(worker, call, ret, sharedOperation{operation{kind: opLock, name: name, token: hold.Token()}, a.weight, a.capacity})
		d := tenure{worker: worker, name: name, key: hold.Key(), token: hold.Token(), granted: ret, unlocked: open}
		shares = append(shares, share{d, a.weight, a.capacity, false})
	}
	return shares
}

// end records the end of a hold.
func (r *familyRun) end(shares []share, hold *lock.Hold, unlocked int64) {
	for _, d := range shares {
		d.until, d.unlocked = r.h.at(hold.Deadline()), unlocked
		r.h.addShare(d)
	}
}

// ask is what a worker asks for: some of the capacity of locks.
type ask struct {
	take             tryLock
	names            []string
	weight, capacity int
	rw               *lock.RWMutex // if it is a writer
}

// familyWorker is one process.
type familyWorker struct {
	*historyWorker

	run *familyRun
}

// work acquires, reads, writes and releases until ctx ends.
func (w *familyWorker) work(ctx context.Context) {
	for ctx.Err() == nil {
		if w.session == nil {
			if err := w.join(ctx); err != nil {
				pause(ctx, 10*time.Millisecond)
				continue
			}
		}
		a, err := w.draw()
		require.NoError(w.t, err)
		w.visit(ctx, a)
		pause(ctx, between(w.random, 0, 10*time.Millisecond))
	}
}

// draw draws what to ask for.
func (w *familyWorker) draw() (ask, error) {
	switch w.random.IntN(8) {
	case 0, 1:
		m, err := lock.NewRWMutex(w.session, "rw")
		return ask{w.either(m.Lock, m.TryLock), []string{"rw"}, manyReaders, manyReaders, m}, err
	case 2:
		m, err := lock.NewRWMutex(w.session, "rw")
		return ask{w.either(m.RLock, m.TryRLock), []string{"rw"}, 1, manyReaders, nil}, err
	case 3, 4, 5:
		s, err := lock.NewSemaphore(w.session, "semaphore", historyPermits)
		n := 1 + w.random.IntN(historyPermits)
		acquire := func(ctx context.Context) (*lock.Hold, error) { return s.Acquire(ctx, n) }
		return ask{w.either(acquire, tryPermits(s, n)), []string{"semaphore"}, n, historyPermits, nil}, err
	case 6:
		m, err := lock.NewMutex(w.session, "y")
		return ask{w.either(m.Lock, m.TryLock), []string{"y"}, 1, 1, nil}, err
	default:
		names := someOf(w.random, []string{"x", "y", "z"})
		m, err := lock.NewMulti(w.session, names)
		return ask{w.either(m.Lock, m.TryLock), names, 1, 1, nil}, err
	}
}

// either returns the first mostly.
func (w *familyWorker) either(wait, try tryLock) tryLock {
	if w.chance(4) {
		return try
	}
	return wait
}

// visit acquires, uses and releases.
func (w *familyWorker) visit(ctx context.Context, a ask) {
	deadline := time.Now().Add(between(w.random, 20*time.Millisecond, 3*time.Second))
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	call := w.run.h.now()
	hold, err := a.take(limited)
	assert.Less(w.t, time.Since(deadline), patience, "what it takes to return")
	if err != nil {
		if !errors.Is(err, lock.ErrLocked) {
			assert.ErrorIs(w.t, err, limited.Err())
		}
		w.h.count("not granted")
		return
	}
	w.h.count("granted")
	shares := w.run.begin(w.id, call, hold, a)
	w.use(ctx, hold, shares)
	if a.rw != nil && w.chance(2) {
		var ok bool
		if hold, shares, ok = w.downgrade(ctx, a, hold, shares); !ok {
			return
		}
		w.use(ctx, hold, shares)
	}
	d := shares[0].tenure
	w.finish(hold, &d)
	w.run.end(shares, hold, d.unlocked)
}

// use is the section: some reads, or writes, with pauses between them.
func (w *familyWorker) use(ctx context.Context, hold *lock.Hold, shares []share) {
	ctx, cancel := hold.With(ctx)
	defer cancel()
	hunted, done := context.WithCancel(ctx)
	defer done()
	select {
	case w.prey <- prey{w.net, done}:
		w.h.count("hunted")
	default:
		done()
	}
	for visits := w.random.IntN(4); hunted.Err() == nil || visits > 0 && ctx.Err() == nil; visits-- {
		before := w.run.h.now()
		if hold.Err() == nil {
			for i := range shares {
				shares[i].valid = before
			}
		}
		w.touch(hold, shares[w.random.IntN(len(shares))])
		pause(ctx, between(w.random, 0, 20*time.Millisecond))
	}
}

// touch reads the register under the hold's guard, or writes it if the hold is for that.
func (w *familyWorker) touch(hold *lock.Hold, d share) {
	ctx, cancel := context.WithTimeout(w.t.Context(), between(w.random, 100*time.Millisecond, 6*time.Second))
	defer cancel()
	value, key := w.writes.Add(1), register(d.name)
	o := sharedOperation{operation{kind: opRead, name: d.name, token: d.token}, d.weight, d.capacity}
	ops := []clientv3.Op{clientv3.OpGet(key)}
	if d.weight == d.capacity {
		o.kind, o.value = opWrite, value
		ops = append(ops, clientv3.OpPut(key, strconv.FormatInt(value, 10)))
	}
	call := w.run.h.now()
	resp, err := hold.Txn(ctx).Then(ops...).Commit()
	switch {
	case err == nil && o.kind == opWrite:
		w.h.count("written")
		o.found = number((*clientv3.GetResponse)(resp.Responses[0].GetResponseRange()))
		w.run.h.addShared(w.id, call, w.run.h.now(), o)
	case err == nil:
		w.h.count("read")
		o.value = number((*clientv3.GetResponse)(resp.Responses[0].GetResponseRange()))
		w.run.h.addShared(w.id, call, w.run.h.now(), o)
	case errors.Is(err, lock.ErrLost):
		w.h.count("refused")
	case o.kind == opWrite:
		w.h.count("write unknown")
		o.kind = opMaybe
		w.run.h.addShared(w.id, call, open, o)
	}
}

// downgrade makes a reader of a writer, and records that.
func (w *familyWorker) downgrade(ctx context.Context, a ask, hold *lock.Hold, shares []share) (*lock.Hold, []share, bool) {
	limited, cancel := context.WithTimeout(ctx, between(w.random, 20*time.Millisecond, 2*time.Second))
	defer cancel()
	call := w.run.h.now()
	read, err := a.rw.Downgrade(limited, hold)
	ret := w.run.h.now()
	d := shares[0]
	if err != nil {
		w.h.count("downgrade failed")
		if hold.Err() == nil { // the context was done before
			return hold, shares, true
		}
		// Its put may take effect as long as the entry is there.
		w.run.h.addShared(w.id, call, open, sharedOperation{operation{kind: opMaybeShrink, name: d.name, token: d.token}, 1, d.capacity})
		w.run.end(shares, hold, open)
		return nil, nil, false
	}
	w.h.count("downgraded")
	w.run.h.addShared(w.id, call, ret, sharedOperation{operation{kind: opShrink, name: d.name, token: d.token}, 1, d.capacity})
	d.until, d.changed = w.run.h.at(hold.Deadline()), true
	w.run.h.addShare(d)
	d.granted, d.weight, d.changed = ret, 1, false
	return read, []share{d}, true
}
