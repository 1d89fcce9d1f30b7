package watchlab

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/watch"
)

const (
	// patience is how long the lab waits for what must happen, counted in beats, of
	// which a busy machine takes fewer in the same time.
	patience = 30 * time.Second
	beat     = 10 * time.Millisecond
	// guard bounds what the lab itself does with the cluster.
	guard = 4 * time.Minute
	// writing is how long writers go on in a round, also if they have not done all they planned:
	// where logging in is slow, as under the race detector, each write may take its timeout.
	writing = 15 * time.Second
)

// lab is a bout under way.
type lab struct {
	plan      Plan
	cluster   *etcdtest.Cluster
	admin     *clientv3.Client // over a connection of its own, as the writers'
	truth     *truth
	journal   *journal
	tally     *counter
	acked     highest // revision that is known to be written
	compacted highest // revision of a compaction that was tried
	surgery   sync.Mutex

	writers   []*writer
	peers     []*peer
	here      []consumer
	planned   []arrival
	consumers sync.WaitGroup
	strangers sync.WaitGroup
	leave     []context.CancelFunc // of those who are here
	dismiss   context.CancelFunc   // of the strangers
	before    watchStreams         // that there were before the bout
	spoiled   bool                 // clientv3 has left goroutines behind, see closePeers
}

// consumer is who uses a stream or a cache.
type consumer interface {
	name() string
	run(ctx context.Context)
	// reached reports whether everything up to a revision was delivered, and if not,
	// how far it is.
	reached(revision int64) (bool, string)
	// verify compares what was delivered with the truth, which is as far.
	verify()
}

// arrival is a consumer that comes in a round.
type arrival struct {
	consumer consumer
	round    int
}

// Play plays a bout. Its error says that the lab itself has failed, not what it has found.
func Play(ctx context.Context, plan Plan) (*Report, error) {
	before := goleak.IgnoreCurrent()
	l := &lab{plan: plan, journal: &journal{began: time.Now()}, tally: newCounter(), before: countWatchStreams()}
	err := l.setUp(ctx)
	if err == nil {
		err = l.play(ctx)
	}
	err = errors.Join(err, l.tearDown())
	if err == nil && !l.journal.found() && !l.spoiled {
		l.checkRoutines(before)
	}
	return l.report(), err
}

func (l *lab) setUp(ctx context.Context) error {
	opts := []etcdtest.Option{etcdtest.WithMembers(l.plan.Members), etcdtest.WithControl()}
	if l.plan.TokenTTL > 0 {
		opts = append(opts, etcdtest.WithTokenTTL(l.plan.TokenTTL))
	}
	var err error
	if l.cluster, err = etcdtest.Start(ctx, opts...); err != nil {
		return err
	}
	l.truth = newTruth(l.cluster, digester{maphash.MakeSeed()})
	if err := l.truth.follow(0); err != nil {
		return err
	}
	if l.plan.TokenTTL > 0 {
		if err := errors.Join(l.cluster.AddUser(ctx, user, password, root), l.cluster.EnableAuth(ctx)); err != nil {
			return err
		}
	}
	if l.admin, err = l.direct(); err != nil {
		return err
	}
	for i := range l.plan.Writers {
		client, err := l.direct()
		if err != nil {
			return err
		}
		l.writers = append(l.writers, &writer{lab: l, client: client, number: i, draw: newDraw(l.plan.Seed, uint64(i)+1)})
	}
	return l.invite()
}

// direct returns a client whose connections nobody disturbs.
func (l *lab) direct() (*clientv3.Client, error) {
	opts := []etcdtest.ClientOption{etcdtest.WithFastReconnect()}
	if l.plan.TokenTTL > 0 {
		opts = append(opts, etcdtest.WithUser(etcdtest.RootUser, etcdtest.RootPassword))
	}
	return l.cluster.NewClient(opts...)
}

// invite makes the peers, and those who will use them.
func (l *lab) invite() error {
	for i, plan := range l.plan.Peers {
		p, err := l.connect(plan)
		if err != nil {
			return err
		}
		l.peers = append(l.peers, p)
		for k, s := range plan.Streams {
			f := newFollower(l, p, s, fmt.Sprintf("stream %d.%d", i, k))
			l.planned = append(l.planned, arrival{f, s.Round})
		}
		for k, c := range plan.Caches {
			d := newDraw(l.plan.Seed, uint64(1000*i+k+1000))
			h := newHolder(l, p, c, fmt.Sprintf("cache %d.%d", i, k), d)
			l.planned = append(l.planned, arrival{h, c.Round})
		}
	}
	return nil
}

// play goes through the rounds.
func (l *lab) play(ctx context.Context) error {
	l.arrive(ctx, 0)
	foreign, dismiss := context.WithCancel(ctx)
	l.dismiss = dismiss
	for i, plan := range l.plan.Peers {
		for _, s := range plan.Foreign {
			l.strangers.Go(func() { l.stranger(foreign, l.peers[i], s) })
		}
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	for i, r := range l.plan.Rounds {
		if l.journal.found() {
			break
		}
		l.journal.note("round %d begins", i)
		if i > 0 {
			l.arrive(ctx, i)
		}
		end, err := l.begin(ctx, r.Through)
		if err != nil {
			return err
		}
		if err := errors.Join(l.round(ctx, r), l.settle(ctx), end()); err != nil {
			return err
		}
	}
	if !l.journal.found() {
		l.goHome()
	}
	return nil
}

// arrive lets those come whose round it is.
func (l *lab) arrive(ctx context.Context, round int) {
	for _, a := range l.planned {
		if a.round != round {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		l.here = append(l.here, a.consumer)
		l.leave = append(l.leave, cancel)
		l.consumers.Go(func() { a.consumer.run(ctx) })
	}
}

// round lets everybody write while the faults come, and returns when all are over.
func (l *lab) round(ctx context.Context, r RoundPlan) error {
	var all sync.WaitGroup
	for _, w := range l.writers {
		all.Go(func() { w.write(ctx, r) })
	}
	for _, v := range r.Visits {
		all.Go(func() { l.visit(ctx, v) })
	}
	errs := make([]error, len(r.Strikes))
	for i, s := range r.Strikes {
		all.Go(func() {
			pause(ctx, s.At)
			l.tally.struck(s.Fault)
			errs[i] = l.strike(ctx, s)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// settle wants everybody who is here to come to the present revision, and compares what
// they were delivered with the truth.
func (l *lab) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, guard)
	defer cancel()
	var revision int64
	if err := insist(ctx, func(ctx context.Context) error {
		resp, err := l.admin.Put(clientv3.WithRequireLeader(ctx), root+mark, "")
		if err == nil {
			revision = resp.Header.Revision
		}
		return err
	}); err != nil {
		return fmt.Errorf("watchlab: a mark: %w", err)
	}
	l.acked.raise(revision)
	if err := l.truth.await(ctx, revision); err != nil {
		return err
	}
	l.journal.note("everybody is to come to %d", revision)
	l.awaitAll(revision)
	l.journal.note("all are there")
	for _, c := range l.here {
		c.verify()
	}
	return nil
}

// awaitAll waits until all have reached a revision, or what has come since: a change whose
// answer was lost may take place late.
func (l *lab) awaitAll(revision int64) {
	late := l.here
	await(func() bool {
		var still []consumer
		for _, c := range late {
			if ok, _ := c.reached(max(revision, l.truth.revision())); !ok {
				still = append(still, c)
			}
		}
		late = still
		return len(late) == 0
	})
	for _, c := range late {
		_, how := c.reached(max(revision, l.truth.revision()))
		l.journal.find(Stuck, c.name(), "not at %d after %v after the faults: %s", revision, patience, how)
	}
}

// await waits until ok, and reports whether that came in time.
func await(ok func() bool) bool {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for range patience / beat {
		if ok() {
			return true
		}
		<-ticker.C
	}
	return ok()
}

// visit opens a cache, uses it once and closes it, under whatever fault there is.
func (l *lab) visit(ctx context.Context, v Visit) {
	pause(ctx, v.At)
	who := fmt.Sprintf("visitor of peer %d at %v", v.Peer, v.At)
	h := newHolder(l, l.peers[v.Peer], CachePlan{Range: All, Stall: watch.MinStall}, who, draw{})
	acked := l.acked.get()
	loading, cancel := context.WithTimeout(ctx, guard)
	defer cancel()
	if v.Patience > 0 {
		loading, cancel = context.WithTimeout(ctx, v.Patience)
		defer cancel()
	}
	c, err := watch.NewCache(loading, h.peer.client, h.key, h.decode, h.options()...)
	if err != nil {
		l.checkRefusal(loading, who, err)
		return
	}
	h.cache = c
	defer h.close()
	ctx, cancel = context.WithTimeout(ctx, guard)
	defer cancel()
	if err := c.WaitRevision(ctx, acked); err != nil {
		l.journal.find(Stuck, who, "WaitRevision(%d): %v", acked, err)
	}
	at := h.sample().Revision()
	if at < acked {
		l.journal.find(Early, who, "loaded at %d, %d was there before", at, acked)
	}
	if err := l.truth.await(ctx, at); err != nil {
		l.journal.find(Snapshots, who, "the cache is at %d: %v", at, err)
		return
	}
	h.verify()
}

// checkRefusal wants a load that has failed to have done so because its ctx ended, and not
// long after.
func (l *lab) checkRefusal(ctx context.Context, who string, err error) {
	deadline, _ := ctx.Deadline()
	switch {
	case ctx.Err() == nil || !errors.Is(err, ctx.Err()):
		l.journal.find(Errors, who, "the cache was not loaded: %v", err)
	case time.Since(deadline) > patience/2:
		l.journal.find(Stuck, who, "NewCache has returned %v after the end of ctx", time.Since(deadline))
	}
}
