package lease_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
)

// registry is what most tests of Register need: a session whose rounds take place
// when the test says so, and an operator.
type registry struct {
	*lease.Session

	c     *etcdtest.Cluster
	rec   *etcdtest.Recorder
	pulse *pulse
	op    operator
	key   string
}

func newRegistry(t *testing.T) registry {
	t.Helper()
	c := etcdtest.New(t)
	g := registry{c: c, rec: new(etcdtest.Recorder), pulse: newPulse(), op: newOperator(t, c), key: c.Prefix(t) + "k"}
	g.Session = newSession(t, c.Client(t, etcdtest.WithRecorder(g.rec)), lease.WithTTL(calm), g.pulse.observe())
	return g
}

func (g registry) register(t *testing.T, value string, opts ...lease.RegisterOption) *lease.Registration {
	t.Helper()
	r, err := lease.Register(guarded(t), g.Session, g.key, value, opts...)
	require.NoError(t, err)
	return r
}

func (g registry) id(t *testing.T) clientv3.LeaseID {
	t.Helper()
	return liveLease(t, g.Session).ID()
}

func (g registry) round(t *testing.T) {
	t.Helper()
	g.pulse.round(t, liveLease(t, g.Session))
}

// lose has the session lose its lease.
func (g registry) lose(t *testing.T) {
	t.Helper()
	l := liveLease(t, g.Session)
	g.op.revoke(t, l.ID())
	inside.Keys(l).Hurry()
	require.Error(t, await(t, g.pulse.lost, "the loss"))
}

func awaitPut(t *testing.T, events <-chan *clientv3.Event) *clientv3.Event {
	t.Helper()
	for {
		if e := await(t, events, "a put"); e.Type == clientv3.EventTypePut {
			return e
		}
	}
}

func awaitDelete(t *testing.T, events <-chan *clientv3.Event) {
	t.Helper()
	for {
		if e := await(t, events, "a delete"); e.Type == clientv3.EventTypeDelete {
			return
		}
	}
}

func TestRegisterPutsTheKeyInOneWrite(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	g.rec.Reset()
	r := g.register(t, "v")
	require.Equal(t, map[string]int{"Txn": 1}, g.rec.Counts())
	g.op.requireKey(t, g.key, "v", g.id(t))
	require.NoError(t, r.Err())

	g.rec.Reset()
	require.NoError(t, r.Update(guarded(t), "w"))
	require.Equal(t, map[string]int{"Txn": 1}, g.rec.Counts())
	g.op.requireKey(t, g.key, "w", g.id(t))
	g.round(t) // what it wrote itself is no reason to write again
	g.round(t)

	g.rec.Reset()
	require.NoError(t, r.Close(guarded(t)))
	require.Equal(t, map[string]int{"Txn": 1}, g.rec.Counts())
	g.op.requireNoKey(t, g.key)
	require.ErrorIs(t, r.Err(), lease.ErrClosed)
	require.NoError(t, r.Close(guarded(t)))
	require.ErrorIs(t, r.Update(guarded(t), "x"), lease.ErrClosed)
	g.op.requireNoKey(t, g.key)
	require.Equal(t, 1, g.rec.Writes())
}

func TestAKeyCanBeRegisteredOncePerSession(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "v")
	_, err := lease.Register(guarded(t), g.Session, g.key, "w")
	require.ErrorContains(t, err, "already registered")
	require.ErrorContains(t, err, g.key)
	g.op.requireKey(t, g.key, "v", g.id(t))
	require.NoError(t, r.Close(guarded(t)))
	require.NoError(t, g.register(t, "w").Err())
}

func TestRegisterRefusesBadInput(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "v")
	g.rec.Reset()
	_, err := lease.Register(guarded(t), nil, "k", "v")
	require.ErrorContains(t, err, "lease: session is nil: must")
	_, err = lease.Register(guarded(t), g.Session, "", "v")
	require.ErrorContains(t, err, "lease: key is empty: must")
	_, err = lease.Register(guarded(t), g.Session, "k", "v", nil)
	require.ErrorContains(t, err, "lease: register option is nil: must")
	_, err = lease.Register(ended(t), g.Session, "some-key", "v")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, `"some-key"`)
	err = r.Update(ended(t), "w")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, g.key)
	require.Empty(t, g.rec.Counts(), "nothing was sent")
	g.op.requireKey(t, g.key, "v", g.id(t))
}

func TestARegistrationIsPutAgainAfterALeaseLoss(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "v")
	require.NoError(t, r.Update(guarded(t), "w"))
	before := g.id(t)
	events := g.op.watch(t, g.key)
	g.lose(t)
	awaitDelete(t, events)
	e := awaitPut(t, events)
	require.Equal(t, "w", string(e.Kv.Value))
	require.NotEqual(t, before, clientv3.LeaseID(e.Kv.Lease))
	require.Equal(t, g.id(t), clientv3.LeaseID(e.Kv.Lease))
	eventually(t, func() bool { return r.Err() == nil }, "in place again")
}

// While no lease can be had the registration says why it is not in place.
func TestARegistrationReportsTheLossUntilItIsHealed(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "v")
	let := make(chan struct{})
	g.rec.Hook("LeaseGrant", func(_ context.Context, _ any, invoke func() error) error {
		<-let
		return invoke()
	})
	l := liveLease(t, g.Session)
	g.op.revoke(t, l.ID())
	inside.Keys(l).Hurry()
	require.Error(t, await(t, g.pulse.lost, "the loss"))
	require.ErrorIs(t, r.Err(), lease.ErrLost)
	close(let)
	eventually(t, func() bool { return r.Err() == nil }, "in place again")
	g.op.requireKey(t, g.key, "v", g.id(t))
}

func TestARegistrationDeletedByAnotherIsPutAgainAtTheNextLook(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "v")
	events := g.op.watch(t, g.key)
	for range 3 {
		g.op.remove(t, g.key)
		awaitDelete(t, events)
		g.round(t)
		e := awaitPut(t, events)
		require.Equal(t, "v", string(e.Kv.Value))
		require.Equal(t, g.id(t), clientv3.LeaseID(e.Kv.Lease))
		// The registrar has to hear of its success before it can miss the key again.
		require.NoError(t, r.Update(guarded(t), "v"))
		awaitPut(t, events)
	}
	require.NoError(t, r.Err())
}

func TestUpdateReturnsWhenItsContextEndsAndTheValueStaysWanted(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "v")
	events := g.op.watch(t, g.key)
	ctx, cancel := context.WithCancel(t.Context())
	let := make(chan struct{})
	g.rec.Hook("Txn", func(_ context.Context, _ any, invoke func() error) error {
		cancel()
		<-let
		return invoke()
	})
	require.ErrorIs(t, r.Update(ctx, "w"), context.Canceled)
	close(let)
	require.Equal(t, "w", string(awaitPut(t, events).Kv.Value))
}

func TestUpdatesRaceWithHealing(t *testing.T) {
	t.Parallel()
	g := newRegistry(t)
	r := g.register(t, "v")
	ctx := guarded(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				if err := r.Update(ctx, fmt.Sprintf("%d.%d", w, i)); err != nil {
					t.Errorf("an update failed: %v", err)
				}
			}
		})
	}
	stop := make(chan struct{})
	var trouble sync.WaitGroup
	trouble.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			l, err := g.Lease(ctx)
			if err != nil {
				return
			}
			if i%3 == 2 {
				_, _ = g.op.Revoke(ctx, l.ID())
			} else {
				_, _ = g.op.Delete(ctx, g.key)
			}
			inside.Keys(l).Hurry()
			timer := time.NewTimer(5 * time.Millisecond)
			<-timer.C
		}
	})
	wg.Wait()
	close(stop)
	trouble.Wait()
	// Whatever came last, one more look leads to what is wanted.
	require.NoError(t, r.Update(guarded(t), "final"))
	eventually(t, func() bool {
		l := liveLease(t, g.Session)
		inside.Keys(l).Hurry()
		v, id, ok := g.op.find(t, g.key)
		return ok && v == "final" && id == l.ID() && r.Err() == nil
	}, "the final value is in place under the live lease")
}

// Not parallel: it counts the goroutines of this process.
func TestAThousandRegistrationsCostFourGoroutinesAndEightReads(t *testing.T) {
	g := newRegistry(t)
	const many = 1000
	registrations := make([]*lease.Registration, many)
	register := func(from, to int) {
		var wg sync.WaitGroup
		ctx := guarded(t)
		for i := from; i < to; i++ {
			wg.Go(func() {
				r, err := lease.Register(ctx, g.Session, fmt.Sprintf("%s/%04d", g.key, i), fmt.Sprint(i))
				if err != nil {
					t.Error(err)
					return
				}
				registrations[i] = r
			})
		}
		wg.Wait()
	}
	count := func() int {
		resp, err := g.op.Get(guarded(t), g.key+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		require.NoError(t, err)
		return int(resp.Count)
	}
	register(0, many)
	require.False(t, t.Failed())
	require.Equal(t, many, count())
	eventually(t, func() bool { return ownGoroutines() <= 4 }, "two, and two for the client's stream of renewals")

	g.rec.Reset()
	g.round(t) // opens the stream
	const reads = (many + 127) / 128
	// The first read confirms the renewal, the others come after it.
	eventually(t, func() bool { return g.rec.Count("Txn") >= reads }, "the round is over")
	g.rec.Reset()
	g.round(t)
	eventually(t, func() bool { return g.rec.Count("Txn") >= reads }, "the round is over")
	require.Equal(t, map[string]int{"LeaseKeepAlive": 1, "Txn": reads}, g.rec.Counts())
	require.Zero(t, g.rec.Writes())

	events := g.op.watch(t, g.key+"/0500")
	g.op.remove(t, g.key+"/0500")
	awaitDelete(t, events)
	g.round(t)
	awaitPut(t, events)

	g.rec.Reset()
	g.lose(t)
	eventually(t, func() bool { return count() == many }, "all are put again")
	for _, r := range registrations {
		eventually(t, func() bool { return r.Err() == nil }, "in place")
	}
	require.Equal(t, 1, g.rec.Count("LeaseGrant"))
	eventually(t, func() bool { return ownGoroutines() <= 4 }, "two, and two for the client's stream of renewals")
}

// ownGoroutines counts those that run the library's code.
func ownGoroutines() int {
	stacks := make([]byte, 1<<20)
	for {
		n := runtime.Stack(stacks, true)
		if n < len(stacks) {
			stacks = stacks[:n]
			break
		}
		stacks = make([]byte, 2*len(stacks))
	}
	own := 0
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		for _, pkg := range []string{"lease", "internal/look", "internal/attempt", "internal/clock"} {
			if strings.Contains(stack, "conclave/"+pkg+".") {
				own++
				break
			}
		}
	}
	return own
}
