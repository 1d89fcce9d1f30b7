package redlock

import (
	"container/list"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// linger is how long a subscription without waiters is kept, because a lock that
	// was contended soon is again.
	linger = time.Second
	// maxVotes bounds the releases that a topic has heard of from fewer than a
	// quorum of the nodes.
	maxVotes = 64
	// maxTokens is how many attempts a waiter remembers the tokens of.
	maxTokens = 8
)

// hub has the calls of Lock. Of those for one lock only the first asks the nodes: the rest
// of this process would only compete with it. It is told of releases: each node publishes
// the token of a lock that it has deleted, and once a quorum has, the first is woken.
type hub struct {
	nodes *Nodes

	mu     sync.Mutex
	topics map[string]*topic // by channel
	told   int               // topics that subscribe
	feeds  []*feed           // none while no topic subscribes
	stop   context.CancelFunc
	closed bool
}

// topic is one lock. Its fields are guarded by hub.mu.
type topic struct {
	channel string
	waiters list.List // who has waited longest is first
	pacer   pacer
	next    time.Time // when the first asks, if nothing is told before
	last    error     // why the last attempt failed
	release bool      // a release was told since the first was let ask
	warned  bool      // that the key never expires

	// These are for locks that were found taken.
	subscribes bool
	live       []bool         // by node: the subscription is known to exist
	votes      map[string]int // by token: nodes that have deleted it
	idle       *time.Timer    // ends the topic; nil while there are waiters
}

// waiter is a call of Lock.
type waiter struct {
	topic  *topic
	place  *list.Element
	ttl    time.Duration // of its hold, if it comes to that
	signal chan struct{} // buffered: it is first now, or is to ask
	asking bool          // it was let ask, and has had no answer; its goroutine's own
	tokens []string      // of its last attempts, which nodes may have until they are removed
}

func newHub(n *Nodes) *hub { return &hub{nodes: n, topics: make(map[string]*topic)} }

// join adds a call of Lock, nil once the hub is closed.
func (h *hub) join(m *Mutex) *waiter {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	t := h.topics[m.channel]
	if t == nil {
		t = &topic{channel: m.channel}
		h.topics[m.channel] = t
	}
	w := &waiter{topic: t, ttl: m.cfg.ttl, signal: make(chan struct{}, 1)}
	w.place = t.waiters.PushBack(w)
	if t.waiters.Len() == 1 { // what is known is of before
		t.next, t.last, t.release = time.Time{}, nil, false
	}
	if t.idle != nil {
		t.idle.Stop()
		t.idle = nil
	}
	return w
}

// turn returns how long w has to wait before it asks, if it is not told anything
// meanwhile: nothing, or for as long as others are before it (less than nothing). why is
// the reason to wait.
func (h *hub) turn(w *waiter) (d time.Duration, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := w.topic
	switch {
	case h.closed:
		return 0, nil
	case t.waiters.Front() != w.place:
		return -1, t.last
	}
	if !t.release {
		d = max(0, time.Until(t.next))
	}
	if d == 0 {
		w.asking, t.release = true, false
	}
	return d, t.last
}

// asked notes that w was refused because of why, in round r unless that is nil. If the lock
// is taken the topic subscribes, with the values of ctx.
func (h *hub) asked(ctx context.Context, w *waiter, r *round, why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := w.topic
	w.asking = false
	if h.closed {
		return
	}
	if misled := w.misled(r); !misled || r.unreachable() || t.last == nil { // else the attempt before says more
		t.last = why
		h.warn(t, why)
	}
	t.next = time.Now().Add(t.pacer.pause(r, h.pollEvery(t)))
	if r != nil && !r.unreachable() && !t.subscribes {
		h.subscribe(ctx, t)
	}
}

// misled reports whether round r, which may be nil, found what an attempt of w before has left on a node, and nobody else
// who has the lock. It remembers r's token.
func (w *waiter) misled(r *round) bool {
	if r == nil {
		return false
	}
	own := func(a answer) bool { return a.state == NodeLocked && slices.Contains(w.tokens, a.owner) }
	owner, n := r.owner()
	held := n > r.spare() && !slices.Contains(w.tokens, owner)
	misled := slices.ContainsFunc(r.answers, own) && !held
	w.remember(r)
	return misled
}

// remember remembers r's token.
func (w *waiter) remember(r *round) {
	w.tokens = append(w.tokens[max(0, len(w.tokens)+1-maxTokens):], r.claim.token)
}

// warn tells an operator of a key that never expires, once. mu must be held.
func (h *hub) warn(t *topic, why error) {
	locked, ok := errors.AsType[*LockedError](why)
	if !ok || len(locked.NoExpiry) == 0 || t.warned {
		return
	}
	t.warned = true
	h.nodes.cfg.log.Warn("redlock: waiting for a key that never expires",
		"name", locked.Name, "key", locked.Key, "owner", locked.Owner, "nodes", locked.NoExpiry)
}

// subscribe makes the feeds tell of the topic's releases. mu must be held.
func (h *hub) subscribe(ctx context.Context, t *topic) {
	t.subscribes, t.live, t.votes = true, make([]bool, len(h.nodes.list)), make(map[string]int)
	h.told++
	if h.feeds == nil {
		ctx, h.stop = context.WithCancel(context.WithoutCancel(ctx))
		for i := range h.nodes.list {
			f := newFeed(h, i)
			h.feeds = append(h.feeds, f)
			h.nodes.run(func() { f.run(ctx) })
		}
	}
	h.kick()
}

// kick makes the feeds take notice of the topics. mu must be held.
func (h *hub) kick() {
	for _, f := range h.feeds {
		f.kick()
	}
}

// leave ends a waiter that was granted or not. If it was the first, the next takes its
// place: it asks at once if w was to ask and has not, or if nobody would tell of w's
// release.
func (h *hub) leave(w *waiter, granted bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := w.topic
	first := t.waiters.Front() == w.place
	t.waiters.Remove(w.place)
	switch {
	case h.closed:
	case t.waiters.Len() == 0 && !t.subscribes:
		delete(h.topics, t.channel)
	case t.waiters.Len() == 0:
		t.idle = time.AfterFunc(linger, func() { h.drop(t) })
	case first:
		t.succeed(w, granted, h.pollEvery(t))
	}
}

// succeed lets the next waiter be the first after w. hub.mu must be held.
func (t *topic) succeed(w *waiter, granted bool, poll time.Duration) {
	switch {
	case granted && t.subscribes:
		pause := min(jitter(poll), expiry(w.ttl)) // a release may not be told
		t.next, t.last, t.release = time.Now().Add(pause), nil, false
	case granted || w.asking:
		t.next = time.Time{}
	}
	t.wake(false)
}

// drop ends a topic that still has no waiters, and the feeds with the last one.
func (h *hub) drop(t *topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.waiters.Len() > 0 || h.topics[t.channel] != t {
		return
	}
	delete(h.topics, t.channel)
	h.told--
	if h.told == 0 {
		h.end()
	}
	h.kick()
}

// end stops the feeds. mu must be held.
func (h *hub) end() {
	if h.feeds != nil {
		h.stop()
		h.feeds, h.stop = nil, nil
	}
}

// close ends the feeds and wakes everybody.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, t := range h.topics {
		if t.idle != nil {
			t.idle.Stop()
		}
		for e := t.waiters.Front(); e != nil; e = e.Next() {
			waiterOf(e).tell()
		}
	}
	clear(h.topics)
	h.end()
}

// pollEvery is how often the first waiter of a topic asks while nothing is told. If
// releases are told, all topics together do so no more than a few times a second. mu must
// be held.
func (h *hub) pollEvery(t *topic) time.Duration {
	if !t.told(h.nodes.quorum()) {
		return pollEvery
	}
	return max(pollEvery, time.Duration(h.told)*time.Second/pollsPerSecond)
}

// channels returns what is to be subscribed to.
func (h *hub) channels() map[string]*topic {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := maps.Clone(h.topics)
	maps.DeleteFunc(all, func(_ string, t *topic) bool { return !t.subscribes })
	return all
}

// subscribed notes that node i tells of releases on the channel from now on. What
// happened before has to be looked at.
func (h *hub) subscribed(i int, channel string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[channel]
	if t == nil || !t.subscribes || t.live[i] {
		return
	}
	t.live[i] = true
	if t.told(h.nodes.quorum()) { // each of them may be the one whose vote was missed
		t.wake(true)
	}
}

// disconnected notes that node i tells nothing any more.
func (h *hub) disconnected(i int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.topics {
		if t.subscribes {
			t.live[i] = false
		}
	}
}

// released notes that a node has deleted the token's key.
func (h *hub) released(channel, token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[channel]
	if t == nil || !t.subscribes {
		return
	}
	if _, known := t.votes[token]; !known && len(t.votes) >= maxVotes {
		clear(t.votes)
	}
	t.votes[token]++
	if t.votes[token] >= h.nodes.quorum() {
		delete(t.votes, token)
		t.wake(true)
	}
}

// The methods of topic need hub.mu.

// told reports whether a release by a quorum is heard of.
func (t *topic) told(quorum int) bool {
	n := 0
	for _, live := range t.live {
		if live {
			n++
		}
	}
	return n >= quorum
}

// wake lets the first waiter see whether it is to ask. It is after a release, though only
// once it has had the answer that it may be waiting for.
func (t *topic) wake(release bool) {
	t.release = t.release || release
	if first := t.waiters.Front(); first != nil {
		waiterOf(first).tell()
	}
}

func waiterOf(e *list.Element) *waiter {
	w, _ := e.Value.(*waiter)
	return w
}

func (w *waiter) tell() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}
