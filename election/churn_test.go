package election_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// churn is an election whose candidates arrive and leave at random, in all the ways
// there are, for a while. What they and observers saw is then compared with what
// happened in the store.
type churn struct {
	t      *testing.T
	seed   uint64
	size   int
	calm   int // of so many that would fail, one does
	lasts  time.Duration
	sleep  func(time.Duration)
	client func() (*clientv3.Client, faulty)
	rev    func() int64
	// compact is called now and then.
	compact func()

	over context.Context // done when nobody shall arrive any more
	wg   sync.WaitGroup

	mu      sync.Mutex
	last    *election.Term
	wins    []win
	endings map[string]int
}

// faulty is a client's network.
type faulty interface {
	Cut()
	Heal()
}

// win is a Campaign that returned nil.
type win struct {
	key           string
	token         lock.Token
	before, after int64 // the store's revision around the call
}

const churnTTL = 2 * time.Second

func (c *churn) run() {
	var end context.CancelFunc
	c.over, end = context.WithCancel(c.t.Context())
	c.endings = make(map[string]int)
	recorder, _ := c.client()
	truth := record(c.t, recorder)
	stop, stopObservers := context.WithCancel(c.t.Context())
	var observers []*witness
	var watching sync.WaitGroup
	for i := range 3 {
		client, net := c.client()
		for j := range 2 {
			w := &witness{pause: time.Duration(j) * 100 * time.Millisecond, sleep: c.sleep}
			observers = append(observers, w)
			watching.Go(func() { w.observe(stop, client) })
		}
		c.wg.Go(func() { c.disturb(uint64(i), net) })
	}
	for i := range c.size {
		c.wg.Go(func() { c.candidate(uint64(i)) })
	}
	for i := 0; i < 6 || c.terms() <= c.size; i++ { // a busy machine takes longer
		c.sleep(c.lasts / 6)
		c.compact()
	}
	end()
	c.wg.Wait()
	story := tell(truth())
	for _, w := range observers {
		w.awaitNobody(c.t)
	}
	stopObservers()
	watching.Wait()

	c.t.Logf("%d terms; they ended: %v", len(c.wins), c.endings)
	for _, w := range c.wins {
		first, led := story.since[w.token]
		require.True(c.t, led, "%v was elected but was never first in the store", w)
		// An event may be delivered just before the store says that it is at that revision.
		require.LessOrEqual(c.t, first, w.after+1, "%v was elected before it was first", w)
		require.Greater(c.t, w.token.Revision(), w.before, "%v was elected with an older entry", w)
	}
	for i, w := range observers {
		require.NoError(c.t, w.err)
		require.True(c.t, isSubsequence(w.saw, story.leaders), "what observer %d saw did not happen so", i)
		c.t.Logf("observer %d saw %d of %d changes", i, len(w.saw), len(story.leaders))
	}
}

func (c *churn) terms() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.wins)
}

// disturb cuts an observer's network off now and then.
func (c *churn) disturb(seed uint64, net faulty) {
	draw := rand.New(rand.NewPCG(c.seed, 1000+seed))
	for c.over.Err() == nil {
		c.sleep(time.Duration(draw.Int64N(int64(c.lasts / 6))))
		net.Cut()
		c.sleep(time.Duration(draw.Int64N(int64(c.lasts / 12))))
		net.Heal()
	}
}

// candidate comes with a client and a session, campaigns a few times and goes.
func (c *churn) candidate(id uint64) {
	draw := rand.New(rand.NewPCG(c.seed, id))
	for n := 0; c.over.Err() == nil; n++ {
		c.sleep(time.Duration(draw.Int64N(int64(c.lasts / 20))))
		client, net := c.client()
		session, err := lease.NewSession(c.t.Context(), client, lease.WithTTL(churnTTL))
		if err != nil {
			c.t.Error(err)
			return
		}
		e, err := election.New(session, virtualName)
		if err != nil {
			c.t.Error(err)
			return
		}
		for k := range 1 + draw.IntN(3) {
			if !c.campaign(e, draw, fmt.Sprintf("%d-%d-%d", id, n, k), client, net) {
				break
			}
		}
		net.Heal()
		if client.ActiveConnection().GetState().String() != "SHUTDOWN" && draw.IntN(2) == 0 {
			if err := session.Close(c.t.Context()); err != nil {
				c.t.Error(err)
			}
		}
		_ = client.Close()
		_ = session.Close(c.t.Context()) // waits for its goroutines
	}
}

// campaign campaigns once, leads if elected, and reports whether the client is still of
// use.
func (c *churn) campaign(e *election.Election, draw *rand.Rand, value string, client *clientv3.Client, net faulty) bool {
	patience := time.Duration(draw.Int64N(int64(20 * time.Second)))
	ctx, cancel := context.WithTimeout(c.over, patience)
	defer cancel()
	before := c.rev()
	term, err := e.Campaign(ctx, value)
	if err != nil {
		if ctx.Err() == nil {
			c.t.Errorf("Campaign failed: %v", err)
		}
		return false
	}
	c.elected(term, before)
	c.sleep(time.Duration(draw.Int64N(int64(100 * time.Millisecond))))
	if draw.IntN(2) == 0 {
		if err := term.Proclaim(c.t.Context(), value+" again"); err != nil && !errors.Is(err, election.ErrLost) {
			c.t.Errorf("Proclaim failed: %v", err)
		}
	}
	how := draw.IntN(20)
	if how < 3 && draw.IntN(c.calm) > 0 {
		how = 19
	}
	return c.leave(term, how, client, net)
}

// leave ends a term in one of many ways.
func (c *churn) leave(term *election.Term, how int, client *clientv3.Client, net faulty) bool {
	ctx := c.t.Context()
	var what string
	useful := true
	switch {
	case how == 0:
		what, useful = "cut off", false
		net.Cut()
		<-term.Context().Done()
	case how == 1:
		what, useful = "crashed", false
		net.Cut()
		_ = client.Close()
	case how == 2:
		what, useful = "client closed", false
		_ = client.Close()
	case how < 6:
		what = "transferred"
		all, err := election.Candidates(ctx, client, virtualName)
		if err != nil || len(all) < 2 {
			c.resign(ctx, term)
			break
		}
		if err := term.Transfer(ctx, all[1+int(all[0].Token.Revision())%(len(all)-1)]); err != nil && !errors.Is(err, election.ErrNotCandidate) && !overtaken(err) && !errors.Is(err, rpctypes.ErrNoLeader) {
			c.t.Errorf("Transfer failed: %v", err)
		}
	case how < 9:
		what = "resigned without waiting"
		done, cancel := context.WithCancel(ctx)
		cancel()
		_ = term.Resign(done)
	default:
		what = "resigned"
		c.resign(ctx, term)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endings[what]++
	return useful
}

func (c *churn) resign(ctx context.Context, term *election.Term) {
	if err := term.Resign(ctx); err != nil && !overtaken(err) {
		c.t.Errorf("Resign failed: %v", err)
	}
}

// overtaken reports whether a resignation failed because the lease ended before it, or
// before it was confirmed.
func overtaken(err error) bool {
	return errors.Is(err, election.ErrLost) || errors.Is(err, lease.ErrLost)
}

// elected checks a new leader against the last.
func (c *churn) elected(term *election.Term, before int64) {
	after := c.rev()
	c.mu.Lock()
	defer c.mu.Unlock()
	// The order matters: if the new term is valid after the last one was, both were.
	if c.last != nil {
		lasted, deadline := c.last.Err() == nil, c.last.Deadline()
		now := time.Now()
		switch {
		case term.Err() != nil: // told before it came here
		case lasted || deadline.After(now):
			c.t.Errorf("%v was elected while %v led until %v", term.Token(), c.last.Token(), deadline)
		case term.Token() <= c.last.Token():
			c.t.Errorf("%v was elected after %v", term.Token(), c.last.Token())
		}
	}
	c.last = term
	c.wins = append(c.wins, win{term.Key(), term.Token(), before, after})
}

// view is what an observer can see of a leader.
type view struct {
	token lock.Token
	value string
}

// witness is an observer.
type witness struct {
	pause time.Duration
	sleep func(time.Duration)

	mu  sync.Mutex
	saw []view
	err error
}

func (w *witness) observe(ctx context.Context, client *clientv3.Client) {
	for l, err := range election.Observe(ctx, client, virtualName) {
		w.mu.Lock()
		switch {
		case err != nil && ctx.Err() == nil:
			w.err = err
		case err == nil:
			w.saw = append(w.saw, view{l.Token, l.Value})
		}
		w.mu.Unlock()
		if w.pause > 0 {
			w.sleep(w.pause)
		}
	}
}

// awaitNobody waits until the last that was seen is that nobody leads.
func (w *witness) awaitNobody(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(guard); ; w.sleep(poll) {
		w.mu.Lock()
		n := len(w.saw)
		nobody := n > 0 && w.saw[n-1] == view{}
		err := w.err
		w.mu.Unlock()
		if nobody {
			return
		}
		require.NoError(t, err)
		require.True(t, time.Now().Before(deadline), "the end was not observed")
	}
}

// record watches all that happens to candidates, from now on, and returns a function
// that waits until nobody is a candidate any more.
func record(t *testing.T, client *clientv3.Client) func() []*clientv3.Event {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	responses := client.Watch(ctx, virtualName+"/~election/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	require.True(t, (<-responses).Created, "before anybody campaigns")
	var events []*clientv3.Event
	var mu sync.Mutex
	more := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for resp := range responses {
			if err := resp.Err(); err != nil {
				t.Errorf("the record ends: %v", err)
			}
			mu.Lock()
			events = append(events, resp.Events...)
			mu.Unlock()
			select {
			case more <- struct{}{}:
			default:
			}
		}
	}()
	return func() []*clientv3.Event {
		defer func() { cancel(); <-done }()
		for {
			mu.Lock()
			all := events
			mu.Unlock()
			if len(tell(all).queue) == 0 && len(all) > 0 {
				return all
			}
			select {
			case <-more:
			case <-time.After(guard):
				t.Error("the queue did not become empty")
				return all
			}
		}
	}
}

// story is what happened in the store.
type story struct {
	leaders []view               // each in turn, nobody included
	since   map[lock.Token]int64 // the revision from which each led
	queue   map[string]election.Leader
}

// tell replays events. It knows nothing of how the package does it: the leader is the
// oldest entry.
func tell(events []*clientv3.Event) story {
	s := story{leaders: []view{{}}, since: make(map[lock.Token]int64), queue: make(map[string]election.Leader)}
	for i, ev := range events {
		key := string(ev.Kv.Key)
		if ev.Type == clientv3.EventTypeDelete {
			delete(s.queue, key)
		} else {
			s.queue[key] = election.Leader{Value: valueOf(ev.Kv.Value), Token: lock.Token(ev.Kv.CreateRevision << 20)}
		}
		if i+1 < len(events) && events[i+1].Kv.ModRevision == ev.Kv.ModRevision {
			continue
		}
		var oldest election.Leader
		for _, l := range s.queue {
			if !oldest.Exists() || l.Token < oldest.Token {
				oldest = l
			}
		}
		if _, known := s.since[oldest.Token]; !known {
			s.since[oldest.Token] = ev.Kv.ModRevision
		}
		if v := (view{oldest.Token, oldest.Value}); v != s.leaders[len(s.leaders)-1] {
			s.leaders = append(s.leaders, v)
		}
	}
	return s
}

func isSubsequence(sub, of []view) bool {
	for _, v := range of {
		if len(sub) > 0 && sub[0] == v {
			sub = sub[1:]
		}
	}
	return len(sub) == 0
}

func TestCandidatesArriveAndLeaveForAMinuteOfVirtualTime(t *testing.T) {
	t.Parallel()
	for seed := range suite.Long[uint64](1, churnSeeds) {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			i := uint64(0)
			var mu sync.Mutex
			c := &churn{
				t: t, seed: seed, size: churnSize, calm: 1, lasts: time.Minute, sleep: vtime.Sleep,
				rev:     func() int64 { return s.Etcd().KV().Rev() },
				compact: func() { s.Compact(t.Context()) },
				client: func() (*clientv3.Client, faulty) {
					mu.Lock()
					defer mu.Unlock()
					i++
					return s.CutClient(vtime.WithDrag(vtime.NewDrag(1000*seed+i, 5*time.Millisecond)))
				},
			}
			c.run()
		})
	}
}

func TestCandidatesArriveAndLeaveForAWhile(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.WithMembers(3))
	c := &churn{
		t: t, seed: 1, size: churnSize / 4, calm: 6, lasts: suite.Long(churnLasts/2, churnLasts), sleep: func(d time.Duration) { <-time.After(d) },
		rev: func() (rev int64) {
			for i := range cluster.Size() {
				rev = max(rev, cluster.Etcd(i).Server.KV().Rev())
			}
			return rev
		},
		compact: func() {
			if err := cluster.Compact(t.Context()); !errors.Is(err, rpctypes.ErrCompacted) { // nothing was written since
				require.NoError(t, err)
			}
		},
		client: func() (*clientv3.Client, faulty) {
			client, net := cluster.ProxiedClient(t, etcdtest.WithFastReconnect())
			return client, net
		},
	}
	c.run()
}
