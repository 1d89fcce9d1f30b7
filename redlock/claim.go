package redlock

import (
	"context"
	"crypto/rand"
	"strconv"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/clock"
)

// claim is what one attempt token may have on the nodes. On each of them a removal
// comes after the acquisitions before it.
type claim struct {
	m     *Mutex
	token string
	keys  [2]string // the lock's and the tombstone's

	mu    sync.Mutex
	lanes []lane
	over  bool          // nothing is written any more
	until clock.Instant // all keys written so far will have expired by then
}

// lane is what is known of a claim on one node.
type lane struct {
	pending int           // acquisitions under way
	idle    chan struct{} // closed when there are none; nil while nobody waits for that
	present bool          // the key may be there
	doubt   bool          // an acquisition may still arrive
}

func newClaim(m *Mutex) *claim {
	token := rand.Text()
	return &claim{
		m: m, token: token, keys: [2]string{m.key, m.tombstone + token},
		lanes: make([]lane, len(m.nodes.list)),
	}
}

// acquire asks every node for the lock.
func (c *claim) acquire(ctx context.Context) *round {
	q := c.acquisition(c.m.nodes.cfg.minUptime)
	return c.ask(ctx, task{"acquire", q, judgeAcquire, func(c *claim, r *round, i int) {
		r.answer(i, c.acquireAt(&r.ctx, i, r.request))
	}})
}

// extend asks every node to keep the key for another TTL. Nodes that lack it get it
// again once a quorum has confirmed the token in the same round, and so do not count
// before the next.
func (c *claim) extend(ctx context.Context) *round {
	q := extendScript.request(c.keys, [3]string{c.token, millis(c.m.cfg.ttl)})
	return c.ask(ctx, task{"extend", q, judgeExtend, func(c *claim, r *round, i int) {
		a := c.extendAt(&r.ctx, i, r.request)
		r.answer(i, a)
		if a.state != NodeMissing {
			return
		}
		<-r.decided
		if r.granted() {
			c.acquireAt(&r.ctx, i, c.acquisition(0))
		}
	}})
}

func (c *claim) acquisition(minUptime time.Duration) request {
	return acquireScript.request(c.keys, [3]string{c.token, millis(c.m.cfg.ttl), millis(minUptime)})
}

// ask does something at each node at once.
func (c *claim) ask(ctx context.Context, t task) *round {
	r := newRound(ctx, c, t)
	for i := range c.lanes {
		r.begin(i)
	}
	return r
}

// acquireAt asks node i for the lock.
func (c *claim) acquireAt(ctx context.Context, i int, q request) answer {
	if !c.begin(i) {
		return answer{state: NodeFailed, err: errGivenUp}
	}
	reply, certain, err := c.m.nodes.list[i].call(ctx, acquireScript, q)
	a := acquired(reply, err, c.m.nodes.cfg.minUptime)
	c.settle(i, a.state == NodeGranted, certain)
	return a
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
	l.present = l.present || granted || !certain
	l.doubt = l.doubt || !certain
	if l.pending == 0 && l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
}

// extendAt asks node i to keep the key. A late extension does no harm, because it
// writes no key that is not there.
func (c *claim) extendAt(ctx context.Context, i int, q request) answer {
	c.mu.Lock()
	over := c.over
	if !over {
		c.written()
	}
	c.mu.Unlock()
	if over {
		return answer{state: NodeFailed, err: errGivenUp}
	}
	reply, _, err := c.m.nodes.list[i].call(ctx, extendScript, q)
	return denied(reply, err)
}

// written notes that a node may set the key's TTL from now until the node timeout. mu
// must be held.
func (c *claim) written() { c.until = clock.Now().Add(c.m.cfg.ttl + c.m.nodes.cfg.timeout) }

// millis is d in whole milliseconds, rounded up.
func millis(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Millisecond-1)/time.Millisecond), 10)
}
