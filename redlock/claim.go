package redlock

import (
	"context"
	"crypto/rand"
	"strconv"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/clock"
	"github.com/conclave-go/conclave/internal/race"
)

// What a round is about, as errors and observers call it.
const (
	opAcquire   = "acquire"
	opExtend    = "extend"
	opRelease   = "release"
	opSubscribe = "subscribe"
)

// maxHedges bounds the extensions of a claim that are under way at one node: the next goes
// out beside those that have no answer yet.
const maxHedges = 3

// claim is what one attempt token may have on the nodes. On each of them a removal
// comes after the acquisitions before it.
type claim struct {
	m     *Mutex
	token string
	keys  [2]string // the lock's and the tombstone's

	mu       sync.Mutex
	lanes    []lane
	over     bool          // nothing is written any more
	until    clock.Instant // all keys written so far will have expired by then
	youngest *round        // the extension that began last
}

// lane is what is known of a claim on one node.
type lane struct {
	pending   int           // acquisitions under way
	idle      chan struct{} // closed when there are none; nil while nobody waits for that
	present   bool          // the key may be there
	doubt     bool          // an acquisition may still arrive
	extending int           // extensions under way
}

func newClaim(m *Mutex) *claim {
	random := rand.Text()
	return &claim{
		m: m, token: m.nodes.cfg.owner + "/" + random, keys: [2]string{m.key, m.tombstone + random},
		lanes: make([]lane, len(m.nodes.list)),
	}
}

// acquire asks every node for the lock, and waits so long for each.
func (c *claim) acquire(ctx context.Context, timeout time.Duration) *round {
	r := newRound(ctx, c, task{op: opAcquire, request: c.acquisition(c.m.nodes.cfg.minUptime), judge: judgeAcquire, at: (*claim).acquirePart}, timeout)
	r.begin()
	return r
}

func (c *claim) acquirePart(r *round, i int) { r.answer(i, c.acquireAt(r, i, r.request)) }

// extend asks every node to keep the key for another TTL, and calls confirmed when a quorum
// has. Nodes that lack it get it again once a quorum has confirmed the token in the same
// round, and so do not count before the next. While a quorum has as many extensions under
// way as it may, the round is the one of these that began last.
func (c *claim) extend(ctx context.Context, confirmed func(r *round)) *round {
	q := extendScript.request(c.keys[:1], [3]string{c.token, millis(c.m.cfg.ttl)})
	r := newRound(ctx, c, task{
		op: opExtend, request: q, judge: judgeExtend, at: (*claim).extendPart, confirmed: confirmed, urgent: true,
	}, c.m.cfg.timeout)
	if youngest := c.enter(r); youngest != nil {
		r.cancel()
		return youngest
	}
	r.begin()
	return r
}

// enter takes r's place in the lanes that have one, or returns the round whose outcome is
// to be awaited instead. One that is decided would have made room if nodes answered.
func (c *claim) enter(r *round) (youngest *round) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var free []int
	for i := range c.lanes {
		if c.lanes[i].extending < maxHedges {
			free = append(free, i)
		}
	}
	if len(free) < c.m.nodes.quorum() && !c.over && !c.youngest.isDecided() {
		return c.youngest
	}
	r.lanes = make([]bool, len(c.lanes))
	for _, i := range free {
		c.lanes[i].extending++
		r.lanes[i] = true
	}
	c.youngest = r
	return nil
}

func (c *claim) extendPart(r *round, i int) {
	a := c.extendAt(r, i)
	r.answer(i, a)
	if a.state != NodeMissing {
		return
	}
	<-r.decided
	if r.granted() {
		c.acquireAt(r, i, c.acquisition(0))
	}
}

func (c *claim) acquisition(minUptime time.Duration) request {
	return acquireScript.request(c.keys[:], [3]string{c.token, millis(c.m.cfg.ttl), millis(minUptime)})
}

// acquireAt asks node i for the lock.
func (c *claim) acquireAt(r *round, i int, q request) answer {
	if !c.begin(i) {
		return answer{state: NodeFailed, err: errGivenUp}
	}
	reply, certain, err := r.ask(&r.ctx, i, acquireScript, q)
	a := acquired(reply, err, c.m.nodes.cfg.minUptime)
	c.settle(i, a.state == NodeGranted, certain)
	return a
}

// ended reports whether a request of that kind must not be sent any more.
func (c *claim) ended(op string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over && op != opRelease
}

// begin notes that an acquisition goes out to node i, unless the claim is over.
func (c *claim) begin(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.lanes[i].pending++
	c.written()
	return true
}

// settle notes how an acquisition at node i went. It forgets nothing that was known
// before: answers may overtake each other.
func (c *claim) settle(i int, granted, certain bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.lanes[i]
	l.pending--
	if race.Enabled && l.pending < 0 {
		panic("redlock: more acquisitions have an answer than were sent")
	}
	l.present = l.present || granted || !certain
	l.doubt = l.doubt || !certain
	if l.pending == 0 && l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
}

// extendAt asks node i to keep the key. A late extension does no harm, because it
// writes no key that is not there.
func (c *claim) extendAt(r *round, i int) answer {
	if !r.lanes[i] {
		return answer{state: NodeFailed, err: errSilent}
	}
	defer c.endExtension(i)
	if !c.beginExtension() {
		return answer{state: NodeFailed, err: errGivenUp}
	}
	reply, _, err := r.ask(&r.ctx, i, extendScript, r.request)
	return denied(reply, err)
}

// beginExtension notes that an extension goes out, unless the claim is over.
func (c *claim) beginExtension() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.written()
	return true
}

func (c *claim) endExtension(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lanes[i].extending--
	c.written()
}

// written notes that a node may set the key's TTL from now until the node timeout. mu
// must be held.
func (c *claim) written() { c.until = clock.Now().Add(c.m.cfg.ttl + c.m.cfg.timeout) }

// millis is d in whole milliseconds, rounded up.
func millis(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Millisecond-1)/time.Millisecond), 10)
}
