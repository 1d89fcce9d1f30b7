package redlock

import (
	"context"
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
)

// hub tells waiters of releases. Each node publishes the token of a lock that it has
// deleted; once a quorum has, the waiter that waits longest is woken, and no other: the
// rest of this process would only compete with it.
type hub struct {
	nodes *Nodes

	mu     sync.Mutex
	topics map[string]*topic
	feeds  []*feed            // none without topics
	stop   context.CancelFunc // of the feeds
	closed bool
}

// topic is the channel of one lock. Its fields are guarded by hub.mu.
type topic struct {
	channel string
	waiters []*waiter      // who has waited longest is first
	live    []bool         // by node: the subscription is known to exist
	votes   map[string]int // by token: nodes that have deleted it
	idle    *time.Timer    // ends the topic; nil while there are waiters
}

// waiter is a call of Lock.
type waiter struct {
	topic *topic
	woken chan struct{} // buffered: a wake-up that comes during an attempt stays
	owes  bool          // it was woken and has not asked since; its goroutine's own
}

func newHub(n *Nodes) *hub { return &hub{nodes: n, topics: make(map[string]*topic)} }

// joinIfKnown makes the caller a waiter if the lock was contended just now, nil
// otherwise: a lock that is free should not cost a subscription.
func (h *hub) joinIfKnown(m *Mutex) *waiter {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.topics[m.channel]; t != nil {
		return t.join()
	}
	return nil
}

// join makes the caller a waiter. told reports whether releases are told already;
// otherwise the waiter is woken when they are. The feeds keep the values of ctx. It
// returns nil once the hub is closed.
func (h *hub) join(ctx context.Context, m *Mutex) (w *waiter, told bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, false
	}
	t := h.topics[m.channel]
	if t == nil {
		t = &topic{channel: m.channel, live: make([]bool, len(h.nodes.list)), votes: make(map[string]int)}
		h.topics[m.channel] = t
		h.start(ctx)
	}
	return t.join(), t.told(h.nodes.quorum())
}

// start makes the feeds run and take notice of the topics. mu must be held.
func (h *hub) start(ctx context.Context) {
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

// end stops the feeds. mu must be held.
func (h *hub) end() {
	if h.feeds != nil {
		h.stop()
		h.feeds, h.stop = nil, nil
	}
}

// leave ends a waiter; a wake-up that it did not use goes to the next. It does not
// matter if it did: the lock is then held, and the next finds that out.
func (h *hub) leave(w *waiter) {
	if w == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := w.topic
	t.waiters = slices.DeleteFunc(t.waiters, func(o *waiter) bool { return o == w })
	select {
	case <-w.woken:
		w.owes = true
	default:
	}
	if w.owes {
		t.wake()
	}
	if len(t.waiters) == 0 && !h.closed {
		t.idle = time.AfterFunc(linger, func() { h.drop(t) })
	}
}

// drop ends a topic that still has no waiters, and the feeds with the last one.
func (h *hub) drop(t *topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(t.waiters) > 0 || h.topics[t.channel] != t {
		return
	}
	delete(h.topics, t.channel)
	if len(h.topics) == 0 {
		h.end()
	}
	h.kick()
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
		t.wakeAll()
	}
	clear(h.topics)
	h.end()
}

// channels returns what is to be subscribed to.
func (h *hub) channels() map[string]*topic {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.topics)
}

// subscribed notes that node i tells of releases on the channel from now on. What
// happened before has to be looked at.
func (h *hub) subscribed(i int, channel string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[channel]
	if t == nil || t.live[i] {
		return
	}
	before := t.told(h.nodes.quorum())
	t.live[i] = true
	if !before && t.told(h.nodes.quorum()) {
		t.wakeAll()
	}
}

// disconnected notes that node i tells nothing any more.
func (h *hub) disconnected(i int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.topics {
		t.live[i] = false
	}
}

// released notes that a node has deleted the token's key.
func (h *hub) released(channel, token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[channel]
	if t == nil {
		return
	}
	if len(t.votes) >= maxVotes {
		clear(t.votes)
	}
	t.votes[token]++
	if t.votes[token] >= h.nodes.quorum() {
		delete(t.votes, token)
		t.wake()
	}
}

// The methods of topic need hub.mu.

func (t *topic) join() *waiter {
	w := &waiter{topic: t, woken: make(chan struct{}, 1)}
	t.waiters = append(t.waiters, w)
	if t.idle != nil {
		t.idle.Stop()
		t.idle = nil
	}
	return w
}

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

func (t *topic) wake() {
	if len(t.waiters) > 0 {
		t.waiters[0].wake()
	}
}

func (t *topic) wakeAll() {
	for _, w := range t.waiters {
		w.wake()
	}
}

func (w *waiter) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}
