package lock_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/peertest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

const (
	// historyVariable says for how long to record, as "60s"; historySeedVariable
	// repeats a run's choices, if not their timing.
	historyVariable     = "CONCLAVE_HISTORY"
	historySeedVariable = "CONCLAVE_HISTORY_SEED"
	historyTime         = 4 * time.Second
	historyWorkers      = 8
	// longestFault is longer than the TTLs with what etcd takes to expire a lease.
	longestFault = 3 * time.Second
	// patience is how late a call may return that is to return at once, on a busy machine.
	patience = longestFault + 5*time.Second
)

// TestHistoriesUnderFaultsAreThoseOfALock lets workers lock, write and unlock while
// clients are cut off, members die and operators interfere, and then looks for a
// sequential order in which a lock with expiry could have done the same.
func TestHistoriesUnderFaultsAreThoseOfALock(t *testing.T) {
	t.Parallel()
	length, random := historyChoices(t, historyTime)
	r := newHistoryRun(t, "a", "b")
	for i := range historyWorkers {
		w := &historyWorker{historyRun: r, id: i, ttl: time.Duration(1+i/6) * time.Second, random: random(uint64(i)), net: r.cluster.Net(t)}
		require.NoError(t, w.join(guarded(t)))
		r.workers = append(r.workers, w)
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var all sync.WaitGroup
	for _, w := range r.workers {
		all.Go(func() { w.work(ctx) })
	}
	for i, mischief := range []func(context.Context, *rand.Rand){
		r.hunt, r.hunt, r.breakNetworks, r.breakMembers, r.interfere,
	} {
		all.Go(func() { mischief(ctx, random(uint64(100+i))) })
	}
	all.Wait()
	r.recover()
	r.h.check(t)
}

// historyChoices returns how long a history is recorded, usual unless the environment says
// otherwise, and where the streams of its choices come from.
func historyChoices(t *testing.T, usual time.Duration) (length time.Duration, random func(stream uint64) *rand.Rand) {
	t.Helper()
	length, seed := usual, rand.Uint64()
	if s := os.Getenv(historyVariable); s != "" {
		var err error
		length, err = time.ParseDuration(s)
		require.NoError(t, err, historyVariable)
	}
	if s := os.Getenv(historySeedVariable); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err, historySeedVariable)
	}
	t.Logf("%s=%d", historySeedVariable, seed)
	return length, func(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
}

// newHistoryRun returns a run on a cluster of its own, without workers.
func newHistoryRun(t *testing.T, names ...string) *historyRun {
	t.Helper()
	c := etcdtest.New(t, etcdtest.WithMembers(3))
	r := &historyRun{t: t, h: newHistory(), cluster: c, operator: c.Client(t, etcdtest.WithFastReconnect()), prey: make(chan prey)}
	for _, name := range names {
		r.names = append(r.names, c.Prefix(t)+name)
	}
	return r
}

// historyRun is what the workers and faults of one history share.
type historyRun struct {
	t        *testing.T
	h        *history
	cluster  *etcdtest.Cluster
	operator *clientv3.Client
	names    []string
	workers  []*historyWorker
	prey     chan prey    // takes who has just got a lock
	writes   atomic.Int64 // numbers what is written to the registers
}

// prey is a worker that has just got a lock.
type prey struct {
	net *etcdtest.Net
	// done lets it go.
	done context.CancelFunc
}

// register is the key that holders of a lock write to.
func register(name string) string { return name + "-register" }

// recover requires that after the faults a newcomer gets each lock and that nothing
// is left in the queues.
func (r *historyRun) recover() {
	began := time.Now()
	ctx := guarded(r.t)
	newcomer := newPeer(r.t, r.cluster)
	for _, name := range r.names {
		call := r.h.now()
		hold, err := newcomer.mutex(r.t, name).Lock(ctx)
		require.NoError(r.t, err, "a newcomer locks %s", name)
		r.h.add(historyWorkers, call, r.h.now(), operation{kind: opLock, name: name, token: hold.Token()})
		d := tenure{worker: historyWorkers, name: name, key: hold.Key(), token: hold.Token(), granted: r.h.now()}
		require.NoError(r.t, hold.Unlock(ctx))
		d.until, d.unlocked = r.h.at(hold.Deadline()), r.h.now()
		r.h.addTenure(d)
		r.read(ctx, historyWorkers, r.operator, name)
	}
	r.t.Logf("recovered in %v", time.Since(began).Round(time.Millisecond))
	for _, name := range r.names { // with the sessions still alive
		awaitQueue(r.t, r.operator, name, 0)
	}
	for _, w := range r.workers {
		assert.NoError(r.t, w.leave(ctx))
	}
}

// read reads a register.
func (r *historyRun) read(ctx context.Context, worker int, client *clientv3.Client, name string) {
	call := r.h.now()
	resp, err := client.Get(ctx, register(name))
	if err == nil {
		r.h.add(worker, call, r.h.now(), operation{kind: opRead, name: name, value: number(resp)})
	}
}

// number returns the number in a register, 0 if nothing has been written yet.
func number(resp *clientv3.GetResponse) int64 {
	if len(resp.Kvs) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(string(resp.Kvs[0].Value), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// historyWorker is one process: a client with a network of its own, and a session.
type historyWorker struct {
	*historyRun

	id      int
	ttl     time.Duration
	random  *rand.Rand
	net     *etcdtest.Net
	client  *clientv3.Client
	session *lease.Session
}

// join starts the worker's client and session.
func (w *historyWorker) join(ctx context.Context) (err error) {
	specified := peertest.Specified(w.t, w.cluster)
	w.client, err = w.cluster.NewClient(etcdtest.ViaNet(w.net), etcdtest.WithFastReconnect(), etcdtest.WithDialOptions(specified.DialOptions()...))
	if err != nil {
		return err
	}
	w.session, err = lease.NewSession(ctx, w.client, lease.WithTTL(w.ttl), lease.WithObserver(specified.Observer()))
	if err != nil {
		return errors.Join(err, w.client.Close())
	}
	return nil
}

// leave closes the session and then the client.
func (w *historyWorker) leave(ctx context.Context) error {
	if w.session == nil {
		return nil
	}
	err := w.session.Close(ctx)
	_ = w.client.Close() // ends the connections, and says that it did
	w.session = nil
	return err
}

// chance is true in one of n cases.
func (w *historyWorker) chance(n int) bool { return w.random.IntN(n) == 0 }

// between returns a duration between two.
func between(random *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(random.Int64N(int64(most-least)))
}

// pause waits for d or ctx, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// work locks, writes and unlocks until ctx ends.
func (w *historyWorker) work(ctx context.Context) {
	for ctx.Err() == nil {
		if w.session == nil {
			if err := w.join(ctx); err != nil {
				pause(ctx, 10*time.Millisecond)
				continue
			}
		}
		name := w.names[w.random.IntN(len(w.names))]
		hold, d, err := w.lock(ctx, name)
		if err == nil {
			w.use(ctx, hold, &d)
			w.finish(hold, &d)
			w.h.addTenure(d)
		}
		if w.chance(4) {
			w.read(ctx, w.id, w.client, name)
		}
		pause(ctx, between(w.random, 0, 10*time.Millisecond))
	}
}

// lock calls Lock or TryLock and records what it returned, unless it failed: that it
// does only when ctx ends, and has done nothing then.
func (w *historyWorker) lock(ctx context.Context, name string) (*lock.Hold, tenure, error) {
	m, err := lock.NewMutex(w.session, name)
	if err != nil {
		w.t.Error(err)
		return nil, tenure{}, err
	}
	deadline := time.Now().Add(between(w.random, 20*time.Millisecond, 3*time.Second))
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	how := m.Lock
	if w.chance(4) {
		how = m.TryLock
	}
	call := w.h.now()
	hold, err := how(ctx)
	ret := w.h.now()
	assert.Less(w.t, time.Since(deadline), patience, "what Lock takes to return")
	locked := &lock.LockedError{}
	switch {
	case err == nil:
		w.h.count("granted")
		w.h.add(w.id, call, ret, operation{kind: opLock, name: name, token: hold.Token()})
	case errors.As(err, &locked):
		w.h.count("busy")
		w.h.add(w.id, call, ret, operation{kind: opBusy, name: name, token: locked.Token})
		return nil, tenure{}, err
	default:
		assert.ErrorIs(w.t, err, ctx.Err())
		w.h.count("not granted")
		return nil, tenure{}, err
	}
	return hold, tenure{worker: w.id, name: name, key: hold.Key(), token: hold.Token(), granted: ret, unlocked: open}, nil
}

// use is the critical section: some writes with pauses between them. A worker that is
// hunted stays until that is over, or the hold.
func (w *historyWorker) use(ctx context.Context, hold *lock.Hold, d *tenure) {
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
		before := w.h.now()
		if hold.Err() == nil {
			d.valid = before
		}
		w.write(hold, d.name)
		pause(ctx, between(w.random, 0, 20*time.Millisecond))
	}
}

// write writes to the register under the hold's guard. It waits longer than the hold
// may last, so that a request held up by the network can arrive after its end.
func (w *historyWorker) write(hold *lock.Hold, name string) {
	ctx, cancel := context.WithTimeout(w.t.Context(), between(w.random, 100*time.Millisecond, 6*time.Second))
	defer cancel()
	value, key := w.writes.Add(1), register(name)
	call := w.h.now()
	resp, err := hold.Txn(ctx).Then(clientv3.OpGet(key), clientv3.OpPut(key, strconv.FormatInt(value, 10))).Commit()
	o := operation{kind: opWrite, name: name, token: hold.Token(), value: value}
	switch {
	case err == nil:
		w.h.count("written")
		o.found = number((*clientv3.GetResponse)(resp.Responses[0].GetResponseRange()))
		w.h.add(w.id, call, w.h.now(), o)
	case errors.Is(err, lock.ErrLost):
		w.h.count("write refused")
	default:
		w.h.count("write unknown")
		o.kind = opMaybe
		w.h.add(w.id, call, open, o)
	}
}

// finish ends the hold, in most cases by Unlock.
func (w *historyWorker) finish(hold *lock.Hold, d *tenure) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*w.ttl)
	defer cancel()
	switch n := w.random.IntN(150); n {
	case 0: // the process dies
		w.h.count("crashed")
		_ = w.client.Close()
		assert.NoError(w.t, w.leave(ctx))
	case 1: // or ends
		w.h.count("closed")
		_ = w.leave(ctx) // its end goes on in the background
	case 2, 3, 4, 5, 6, 7, 8, 9: // nobody waits for the outcome
		done, cancel := context.WithCancel(ctx)
		cancel()
		_ = hold.Unlock(done)
	default:
		err := hold.Unlock(ctx)
		d.unlocked = w.outcome(err)
	}
	<-hold.Context().Done() // at the deadline at the latest
	d.until = w.h.at(hold.Deadline())
}

// outcome returns when the lock was released, if Unlock says so.
func (w *historyWorker) outcome(err error) int64 {
	switch {
	case err == nil:
		return w.h.now()
	case errors.Is(err, lock.ErrLost):
		w.h.count("lost")
	default: // it took too long, or longer than the lease
		if !errors.Is(err, lease.ErrLost) {
			assert.ErrorIs(w.t, err, context.DeadlineExceeded)
		}
		w.h.count("unlock unknown")
	}
	return open
}
