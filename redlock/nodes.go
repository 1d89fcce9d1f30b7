package redlock

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Nodes are the Redis servers that locks are kept on, with their background work. Any
// number of mutexes may share one. All methods may be called from several goroutines. Use
// [NewNodes]; the zero value is not valid.
type Nodes struct {
	cfg  config
	list []*node
	hub  *hub
	// abort ends removals in the background.
	abort chan struct{}

	workers   workers
	overdues  overdues
	admission admission
	outage    outage
	took      atomic.Int64 // how long the last quorum took to do as asked

	mu       sync.Mutex
	holds    map[*Hold]struct{} // not yet ended
	running  group              // what goes on in the background
	asking   group              // of these, removals that nodes have not answered and might in time
	removals int                // and those that are not done everywhere
	closed   bool
}

// group counts what goes on. It is guarded by Nodes.mu.
type group struct {
	n    int
	none chan struct{} // closed when n becomes 0; nil while nobody waits for it
}

func (g *group) done() {
	g.n--
	if g.n == 0 && g.none != nil {
		close(g.none)
		g.none = nil
	}
}

// over returns a channel that is closed once there are none.
func (g *group) over() <-chan struct{} {
	none := g.none
	if none == nil {
		none = make(chan struct{})
	}
	if g.n == 0 {
		close(none)
	} else {
		g.none = none
	}
	return none
}

// NewNodes returns the nodes behind clients. It makes no request.
//
// One client is the plain lock on one server. Three or more are Redlock, and a lock is held
// with the keys on a majority of them: of three nodes one may fail, of five two. An even
// number is allowed and tolerates no more failures than one node fewer. Two are refused,
// because both would have to be up. The nodes must be independent: not replicas of each
// other, nor databases of one server. The same client or address twice is refused; that two
// different names are the same server is not recognised.
//
// A client that is a cluster, or one of a fail-over group, is one node. A ring is refused:
// it would announce a release on a different server than the one with the key. The package
// comment says which settings of a client matter. The clients remain the caller's to close,
// after [Nodes.Close].
func NewNodes(clients []redis.UniversalClient, opts ...Option) (*Nodes, error) {
	c, err := newConfig(opts)
	if err := errors.Join(checkClients(clients), err); err != nil {
		return nil, err
	}
	n := &Nodes{cfg: c, abort: make(chan struct{}), holds: make(map[*Hold]struct{})}
	for i, client := range clients {
		n.list = append(n.list, newNode(nodeName(client, i), client, c.nodeTimeout(c.ttl)))
	}
	n.hub, n.workers.nodes, n.outage.log = newHub(n), n, c.log
	n.admission.nodes, n.admission.calls = n, make([]int, len(clients))
	return n, nil
}

// Close ends what is left: holds are lost, with [ErrClosed] as the reason, their keys and
// those of failed attempts removed, and subscriptions closed. It waits for that until ctx
// is done, and then, within the grace period ([WithGrace]), for what nodes that answer have
// yet to remove. What has not been removed by then expires with its TTL, and Close returns
// ctx's error. If a program ends without it, others may get its locks only when their TTL
// has passed.
func (n *Nodes) Close(ctx context.Context) error {
	switch {
	case n == nil || n.hub == nil:
		return errNoNodes
	case ctx == nil:
		return errNilContext
	}
	n.mu.Lock()
	first := !n.closed
	n.closed = true
	held := slices.Collect(maps.Keys(n.holds))
	n.mu.Unlock()
	for _, h := range held {
		h.lose(ErrClosed)
	}
	if first {
		n.hub.close()
		n.workers.close()
	}
	return n.wait(ctx)
}

// wait waits for what goes on in the background, and aborts it when ctx ends and the nodes
// have been asked for what is to be removed.
func (n *Nodes) wait(ctx context.Context) error {
	n.mu.Lock()
	idle, asked := n.running.over(), n.asking.over()
	n.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	grace := time.NewTimer(n.cfg.grace)
	defer grace.Stop()
	select {
	case <-idle:
		return nil
	case <-asked:
	case <-grace.C:
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.abort:
	default:
		close(n.abort)
	}
	if n.removals == 0 {
		return nil
	}
	return fmt.Errorf("redlock: closing: keys that could not be removed expire: %w", ended(ctx, nil))
}

// run runs fn in the background; Close waits for it.
func (n *Nodes) run(fn func()) {
	n.begin()
	go func() {
		defer n.end()
		fn()
	}()
}

// begin counts something that goes on in the background until end.
func (n *Nodes) begin() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running.n++
}

// beginOpen is begin, refused once the nodes are closed.
func (n *Nodes) beginOpen() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.running.n++
	return true
}

func (n *Nodes) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running.done()
}

// removing notes that a removal begins, until asked and removed.
func (n *Nodes) removing() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removals++
	n.asking.n++
}

// asked notes that a removal is done, or that it is of no use to wait for it.
func (n *Nodes) asked() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asking.done()
}

// removed notes that a removal is done, or given up.
func (n *Nodes) removed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removals--
}

// publishes tells the log, once until it works again, that a node does not publish
// releases, and why; that is empty if it has.
func (n *Nodes) publishes(i int, why string) {
	mute := why != ""
	if n.list[i].mute.Swap(mute) != mute && mute {
		n.cfg.log.Warn("redlock: a release cannot be published; without a quorum that does, waiters ask about once a second", "node", n.list[i].name, "error", why)
	}
}

// add notes a new hold, unless the nodes are closed.
func (n *Nodes) add(h *Hold) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.holds[h] = struct{}{}
	return true
}

func (n *Nodes) remove(h *Hold) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.holds, h)
}

// quorum is how many nodes make a majority.
func (n *Nodes) quorum() int { return len(n.list)/2 + 1 }

func checkClients(clients []redis.UniversalClient) error {
	var errs []error
	switch len(clients) {
	case 0:
		errs = append(errs, errors.New("redlock: no clients: must be one, or three or more"))
	case 2:
		errs = append(errs, errors.New("redlock: two clients: must be one, or three or more: a majority of two is both"))
	}
	seen := make(map[string]int)
	for i, c := range clients {
		if c == nil || reflect.ValueOf(c).Kind() == reflect.Pointer && reflect.ValueOf(c).IsNil() {
			errs = append(errs, fmt.Errorf("redlock: client %d is nil: must be a go-redis client", i))
			continue
		}
		if _, ring := c.(interface{ SetAddrs(map[string]string) }); ring { // also in a type of the caller's
			errs = append(errs, fmt.Errorf("redlock: client %d is a ring: must be a client of one server, of a cluster or of a fail-over group: "+
				"a ring keeps a lock's channel on another server than its key; give a client for each of its servers", i))
			continue
		}
		if j := slices.IndexFunc(clients[:i], func(other redis.UniversalClient) bool { return same(c, other) }); j >= 0 {
			errs = append(errs, fmt.Errorf("redlock: client %d is client %d again: nodes must be independent", i, j))
			continue
		}
		for _, addr := range addresses(c) {
			if j, ok := seen[addr]; ok && j != i {
				errs = append(errs, fmt.Errorf("redlock: clients %d and %d both use %s: nodes must be independent", j, i, addr))
			}
			seen[addr] = i
		}
	}
	return errors.Join(errs...)
}

// same reports whether two clients are one, as far as their types tell.
func same(a, b redis.UniversalClient) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// failover is what go-redis calls the address of a client that asks Sentinels.
const failover = "FailoverClient"

// addresses returns the servers that a client is known to talk to.
func addresses(client redis.UniversalClient) []string {
	switch c := client.(type) {
	case *redis.Client:
		if addr := c.Options().Addr; addr != failover {
			return []string{addr}
		}
	case *redis.ClusterClient:
		return c.Options().Addrs
	}
	return nil
}

// nodeName is what errors call a node.
func nodeName(client redis.UniversalClient, i int) string {
	if all := addresses(client); len(all) > 0 {
		return strings.Join(slices.Sorted(slices.Values(all)), ",")
	}
	return fmt.Sprintf("node %d", i)
}
