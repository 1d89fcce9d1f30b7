package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/chaos/worker"
	"github.com/conclave-go/conclave/internal/race"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
)

// The faults of each bubble, and how many there are of each kind of lock. Together they
// make the figures that TestVirtualLocksKeepWhatTheyPromise requires.
const (
	virtualTTL    = 5 * time.Second
	virtualRounds = 9  // of a pause and two partitions
	virtualSeeds  = 10 // where tests are long
	virtualCrew   = 3

	// virtualSeedVariable moves the seeds.
	virtualSeedVariable = "CONCLAVE_CHAOS_VIRTUAL_SEED"
)

// virtualTally counts what happened in all bubbles.
type virtualTally struct{ partitions, pauses, cancellations, expiries, refused atomic.Int64 }

// TestVirtualLocksKeepWhatTheyPromise lets locks of this library go through partitions,
// expiries and cancellations in virtual time.
func TestVirtualLocksKeepWhatTheyPromise(t *testing.T) {
	t.Parallel()
	first := uint64(1)
	if s := os.Getenv(virtualSeedVariable); s != "" {
		var err error
		first, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err, virtualSeedVariable)
	}
	seeds := suite.Long[uint64](2, virtualSeeds)
	if race.Enabled || testing.Short() {
		seeds = 1
	}
	var sums virtualTally
	t.Cleanup(func() { sums.check(t, int64(seeds)) }) // when all bubbles are over
	for _, kind := range []string{worker.KindMutex, worker.KindRWMutex, worker.KindElection} {
		for i := range seeds {
			t.Run(fmt.Sprintf("%s-%d", kind, first+i), func(t *testing.T) {
				t.Parallel()
				vtime.Run(t, func(t *testing.T, s *vtime.Server) { playVirtually(t, s, kind, first+i, &sums) })
			})
		}
	}
}

// check requires that enough has happened for the result to mean something.
func (sums *virtualTally) check(t *testing.T, seeds int64) {
	t.Helper()
	t.Logf("%d partitions, %d pauses, %d cancellations, %d expiries, %d stale writes refused",
		sums.partitions.Load(), sums.pauses.Load(), sums.cancellations.Load(), sums.expiries.Load(), sums.refused.Load())
	if !race.Enabled {
		assert.GreaterOrEqual(t, sums.partitions.Load(), 50*seeds)
		assert.GreaterOrEqual(t, sums.pauses.Load(), 20*seeds)
		if seeds > 1 { // a seed alone may have none
			assert.NotZero(t, sums.cancellations.Load())
		}
	}
	assert.NotZero(t, sums.expiries.Load())
	assert.NotZero(t, sums.refused.Load())
}

// virtualLock is a lock in a bubble with its workers.
type virtualLock struct {
	*history.Log

	t      *testing.T
	ctx    context.Context
	name   string
	random *rand.Rand
	hands  []*virtualHand
	sums   *virtualTally
}

type virtualHand struct {
	*worker.Worker

	cut *vtime.Cut
}

func playVirtually(t *testing.T, s *vtime.Server, kind string, seed uint64, sums *virtualTally) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := &virtualLock{
		Log: history.NewLog(), t: t, ctx: ctx, name: "chaos/l", random: rand.New(rand.NewPCG(seed, 0)), sums: sums,
	}
	l.watch(s)
	resource := worker.NewResource(virtualNow, l.Add)
	var working sync.WaitGroup
	for i := range virtualCrew {
		h := l.hire(s, kind, resource, fmt.Sprintf("w%d", i+1), seed)
		working.Go(func() { h.Run(ctx) })
	}
	for range virtualRounds {
		l.pause()
		l.cutHolder()
		l.cutAnybody()
	}
	l.mustGoOn()
	vtime.Advance(0) // etcd's own history has come, too
	cancel()
	working.Wait()
	for _, h := range l.hands {
		require.NoError(t, h.Locker.Close(context.WithoutCancel(ctx)))
	}
	l.check()
}

func virtualNow() int64 { return time.Now().UnixNano() }

// hire makes a worker with a network of its own.
func (l *virtualLock) hire(s *vtime.Server, kind string, r *worker.Resource, name string, seed uint64) *virtualHand {
	client, cut := s.CutClient()
	locker, err := worker.NewConclave(l.ctx, client, kind, l.name, name, virtualTTL, 0)
	require.NoError(l.t, err)
	h := &virtualHand{cut: cut, Worker: &worker.Worker{
		Name: name, Locker: locker, Register: worker.NewRegister(client, worker.RegisterKey(l.name), virtualTTL),
		Resource: worker.Local(r, l.name, name), Gate: worker.NewGate(), Now: virtualNow, Emit: l.Add,
		Hold: 3 * time.Second, Think: 2 * time.Second, Sample: 500 * time.Millisecond, Patience: virtualTTL,
		GiveUp: 4 * virtualTTL, Random: rand.New(rand.NewPCG(seed, uint64(len(l.hands)+1))),
	}}
	l.hands = append(l.hands, h)
	return h
}

// watch lets etcd's own history go to the log.
func (l *virtualLock) watch(s *vtime.Server) {
	events := s.Client().Watch(l.ctx, path.Dir(l.name)+"/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-events
	go func() { // ends with ctx
		for resp := range events {
			for _, e := range resp.Events {
				note := history.Event{At: virtualNow(), Kind: history.Gone, Key: string(e.Kv.Key), Revision: e.Kv.ModRevision}
				switch {
				case note.Key == worker.RegisterKey(l.name):
					stamp, err := worker.ParseStamp(string(e.Kv.Value))
					if err != nil {
						note.Kind, note.Detail = history.Broken, err.Error()
						break
					}
					note.Kind, note.Hold, note.Token, note.Value, note.Found = history.Stored, stamp.Hold, stamp.Token, stamp.Value, stamp.Found
				case e.IsCreate():
					note.Kind = history.Entry
				}
				l.Add(note)
			}
		}
	}()
}

// any returns a random worker.
func (l *virtualLock) any() *virtualHand { return l.hands[l.random.IntN(len(l.hands))] }

// about returns a random time up to three TTLs.
func (l *virtualLock) about() time.Duration {
	return time.Duration(l.random.Int64N(int64(3*virtualTTL))) + time.Millisecond
}

// reach lets a worker come to a point with the lock, and returns its hold.
func (l *virtualLock) reach(h *virtualHand, point string) string {
	mark := l.Mark()
	h.Gate.Told(worker.Arm(point))
	e := l.mustSee(mark, func(e history.Event) bool { return e.Kind == history.Reached && e.Worker == h.Name })
	return e.Hold
}

// mustSee requires an event within a quarter of an hour.
func (l *virtualLock) mustSee(mark int, cond func(history.Event) bool) history.Event {
	ctx, cancel := context.WithTimeout(l.ctx, 15*time.Minute)
	defer cancel()
	e, err := l.Await(ctx, mark, cond)
	require.NoError(l.t, err)
	return e
}

// died notes the end of a hold that was lost.
func (l *virtualLock) died(h *virtualHand, hold string) {
	if e, ok := l.Last(func(e history.Event) bool { return e.Kind == history.Told && e.Hold == hold }); ok {
		l.sums.expiries.Add(1)
		l.Add(history.Event{At: e.At, Kind: history.Died, Worker: h.Name, Hold: hold})
	}
}

// pause keeps a holder from going on, and all that it sends and is sent on the way, for
// longer than its lock lasts. Its timers run, as those of a stopped process do not.
func (l *virtualLock) pause() {
	h := l.any()
	hold := l.reach(h, []string{worker.Before, worker.Between}[l.random.IntN(2)])
	h.cut.Hold()
	vtime.Sleep(virtualTTL + l.about())
	l.died(h, hold)
	h.cut.Heal()
	h.Gate.Told(worker.Go)
	l.sums.pauses.Add(1)
}

// cutHolder cuts a holder off, in one of the ways there are.
func (l *virtualLock) cutHolder() {
	h := l.any()
	hold := l.reach(h, worker.Stay)
	h.Gate.Told(worker.Go)
	l.cut(h)
	l.died(h, hold)
	h.Gate.Told(worker.Enough)
}

// cutAnybody cuts somebody off who may hold, wait, or neither.
func (l *virtualLock) cutAnybody() {
	vtime.Sleep(l.about() / 3)
	l.cut(l.any())
}

func (l *virtualLock) cut(h *virtualHand) {
	[]func(){h.cut.Cut, h.cut.CutToServer, h.cut.CutToClient, h.cut.Hold, h.cut.HoldToServer, h.cut.HoldToClient}[l.random.IntN(6)]()
	d := l.about()
	if l.random.IntN(4) == 0 {
		vtime.Sleep(d / 2)
		h.cut.Reset()
		d /= 2
	}
	vtime.Sleep(d)
	h.cut.Heal()
	l.sums.partitions.Add(1)
}

// mustGoOn requires that everybody is granted the lock after the faults.
func (l *virtualLock) mustGoOn() {
	mark := l.Mark()
	for _, h := range l.hands {
		l.mustSee(mark, func(e history.Event) bool { return e.Kind == history.Granted && e.Worker == h.Name })
	}
}

func (l *virtualLock) check() {
	events := l.Events()
	r := history.Check(events, history.Rules{TTL: virtualTTL, Tokens: true})
	for _, f := range r.Findings {
		l.t.Errorf("%s: %s", f.Property, f.Text)
	}
	require.Empty(l.t, r.Notes)
	require.NotZero(l.t, r.Writes[history.Txn])
	l.sums.refused.Add(int64(r.Refused[history.Fenced] + r.Refused[history.Txn]))
	for _, e := range events {
		if e.Kind == history.Failed {
			l.sums.cancellations.Add(1)
		}
	}
	if l.t.Failed() {
		file, err := os.Create(path.Join(l.t.ArtifactDir(), "history.jsonl"))
		require.NoError(l.t, err)
		require.NoError(l.t, history.Write(file, events))
		require.NoError(l.t, file.Close())
	}
}
