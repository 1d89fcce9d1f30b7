package redlock

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Nodes are the Redis servers that locks are kept on, with what goes on in the
// background for them. Any number of mutexes may share one. All methods may be called
// from several goroutines. Use [NewNodes]; the zero value is not valid.
type Nodes struct {
	cfg  config
	list []*node
	hub  *hub
	// abort ends removals in the background.
	abort chan struct{}

	workers  workers
	overdues overdues

	mu      sync.Mutex
	holds   map[*Hold]struct{} // not yet ended
	running int                // goroutines in the background
	idle    chan struct{}      // closed when running becomes 0; nil while nobody waits for it
	closed  bool
}

// NewNodes returns the nodes behind clients. It makes no request.
//
// One client is the plain lock on one server. Three or more are Redlock, and a lock is
// held with the keys on a majority of them: of three nodes one may fail, of five two. An
// even number is allowed and tolerates no more failures than one node fewer. Two are
// refused, because both would have to be up. The nodes must be independent: not
// replicas of each other, nor databases of one server. The same client or address
// twice is refused; other names of one server are not recognised.
//
// A client that is a cluster, or one of a fail-over group, is one node. See the package
// on which of its settings matter. The clients remain the caller's to close, after
// [Nodes.Close].
func NewNodes(clients []redis.UniversalClient, opts ...Option) (*Nodes, error) {
	c, err := newConfig(opts)
	if err := errors.Join(checkClients(clients), err); err != nil {
		return nil, err
	}
	n := &Nodes{cfg: c, abort: make(chan struct{}), holds: make(map[*Hold]struct{})}
	for i, client := range clients {
		n.list = append(n.list, newNode(nodeName(client, i), client, c.timeout))
	}
	n.hub = newHub(n)
	n.workers.nodes, n.overdues.timeout = n, c.timeout
	return n, nil
}

// Close ends what is left: holds are lost, with [ErrClosed] as the reason, their keys
// and those of failed attempts removed, and subscriptions closed. It waits for that
// until ctx is done; what has not been removed by then expires with its TTL, and Close
// returns ctx's error. Programs that end need not call it; a test that looks for
// goroutines, or a program that goes on without locks, should.
func (n *Nodes) Close(ctx context.Context) error {
	n.mu.Lock()
	first := !n.closed
	n.closed = true
	var held []*Hold
	for h := range n.holds {
		held = append(held, h)
	}
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

// wait waits for what goes on in the background, and aborts it when ctx ends.
func (n *Nodes) wait(ctx context.Context) error {
	n.mu.Lock()
	if n.running == 0 {
		n.mu.Unlock()
		return nil
	}
	if n.idle == nil {
		n.idle = make(chan struct{})
	}
	idle := n.idle
	n.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		n.mu.Lock()
		defer n.mu.Unlock()
		select {
		case <-n.abort:
		default:
			close(n.abort)
		}
		return fmt.Errorf("redlock: closing: keys that could not be removed expire: %w", ended(ctx, nil))
	}
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
	n.running++
}

// beginOpen is begin, refused once the nodes are closed.
func (n *Nodes) beginOpen() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.running++
	return true
}

func (n *Nodes) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running--
	if n.running == 0 && n.idle != nil {
		close(n.idle)
		n.idle = nil
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
		if j := slices.Index(clients[:i], c); j >= 0 {
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
	case *redis.Ring:
		var all []string
		for _, addr := range c.Options().Addrs {
			all = append(all, addr)
		}
		return all
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
