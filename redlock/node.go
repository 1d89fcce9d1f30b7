package redlock

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/internal/clock"
)

const (
	// maxRepeats bounds how often a request is repeated at once whose connection broke.
	maxRepeats = 3
	// maxProbes bounds the calls under way to a node that does not answer.
	maxProbes = 4
	// connectTimeout bounds how long a connection is waited for, with all that belongs to
	// its beginning: several round trips. It is of use to the next call if this one is given
	// up.
	connectTimeout = 15 * time.Second
	// maxCallTimeout is as long as go-redis waits for a reply by default.
	maxCallTimeout = 5 * time.Second
	// connectTimeouts is how many node timeouts an operation waits for connections.
	connectTimeouts = 3
	// connsPerProcessor is how many connections a client has whose settings are not known:
	// the default of go-redis.
	connsPerProcessor = 10
	// reservedShare is the share of a node's connections that acquisitions and releases
	// leave to renewals.
	reservedShare = 4
)

// node is one Redis server, or what stands for one.
type node struct {
	name    string
	client  redis.UniversalClient
	timeout time.Duration
	conns   int // that the client makes at most
	limit   int // of acquisitions and releases under way

	mute atomic.Bool // the last release could not be published

	// A node that has let a call time out is silent until it answers one. Until then
	// it is asked once in a node timeout, so that calls do not pile up at a server
	// that hangs: without go-redis's ContextTimeoutEnabled each lasts for the client's
	// read timeout. (Client.WithTimeout would shorten that, but loses hooks.) Urgent
	// calls are bounded by the connections only, since a node that is slow looks silent.
	mu       sync.Mutex
	silent   bool
	calls    map[string]int // under way, all of them, by server of a cluster
	urgent   int            // of these
	probes   int            // of these, to a silent node
	probed   clock.Instant  // when the last one began
	answered clock.Instant  // when the last call ended that was answered
	worked   bool           // a script has been run
	found    bool           // a cluster's servers are known
}

func newNode(name string, client redis.UniversalClient, timeout time.Duration) *node {
	n := &node{name: name, client: client, timeout: timeout, conns: conns(client), calls: make(map[string]int), answered: math.MinInt64}
	n.limit = max(1, n.conns-max(1, n.conns/reservedShare))
	return n
}

// conns returns how many connections a client makes to one server.
func conns(client redis.UniversalClient) int {
	var size, most int
	switch c := client.(type) {
	case *redis.Client:
		size, most = c.Options().PoolSize, c.Options().MaxActiveConns
	case *redis.ClusterClient:
		size, most = c.Options().PoolSize, c.Options().MaxActiveConns
	}
	if size <= 0 {
		size = connsPerProcessor * runtime.GOMAXPROCS(0)
	}
	if most > 0 {
		size = min(size, most)
	}
	return size
}

// call runs a script on the node. certain is as for [round.ask].
func (n *node) call(ctx context.Context, s script, q request) (reply any, certain bool, err error) {
	reply, err = s.run(ctx, n.client, q)
	certain = err == nil || neverRun(err)
	// As a rule it was a pooled connection that had died before, and there may be more.
	for range maxRepeats {
		if err == nil || !broken(err) || ctx.Err() != nil {
			break
		}
		reply, err = s.run(ctx, n.client, q)
		certain = false
	}
	return reply, certain, err
}

// connect lets the client make a connection to the server that has the key, if it has none to
// spare. What that answers does not matter: a user may lack the permission for this.
func (n *node) connect(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	server, _, err := n.server(ctx, key)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.found = true
	n.mu.Unlock()
	if err := server.Ping(ctx).Err(); err != nil && !replied(err) {
		return err
	}
	return nil
}

// server returns the client of the server that has the key, and its address if it is one of
// a cluster.
func (n *node) server(ctx context.Context, key string) (client redis.UniversalClient, addr string, err error) {
	c, ok := n.client.(*redis.ClusterClient)
	if !ok {
		return n.client, "", nil
	}
	master, err := c.MasterForKey(ctx, key)
	if err != nil {
		return nil, "", err
	}
	return master, master.Options().Addr, nil
}

// visit is a call under way.
type visit struct {
	start  clock.Instant
	server string // of a cluster
	cold   bool   // it has to make a connection
	probe  bool   // of a silent node
	urgent bool
}

// enter notes that a call for the key begins, or returns why the node must not be asked.
func (n *node) enter(ctx context.Context, key string, urgent bool) (visit, error) { //nolint:revive // which of two kinds of calls it is
	v := visit{start: clock.Now(), urgent: urgent}
	server, idle, total := n.connections(ctx, key)
	v.server = server
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case urgent:
		if n.silent && n.urgent >= n.conns {
			return v, errSilent
		}
		n.urgent++
	case n.silent:
		if n.probes >= maxProbes || n.probes > 0 && v.start.Sub(n.probed) < n.timeout {
			return v, errSilent
		}
		n.probes++
		n.probed, v.probe = v.start, true
	}
	v.cold = total < n.conns && (idle == 0 || n.calls[v.server] >= total)
	n.calls[v.server]++
	return v, nil
}

// connections returns how many there are to the server that has the key, and its address if
// it is one of a cluster. Who that is, it does not ask for.
func (n *node) connections(ctx context.Context, key string) (addr string, idle, total int) {
	n.mu.Lock()
	found := n.found
	n.mu.Unlock()
	if _, ok := n.client.(*redis.ClusterClient); ok && !found {
		return "", 0, 0
	}
	server, addr, err := n.server(ctx, key)
	if err != nil {
		return "", 0, 0
	}
	s := server.PoolStats()
	if s == nil {
		return addr, n.conns, n.conns // not known: taken for enough
	}
	return addr, int(s.IdleConns), int(s.TotalConns)
}

// leave notes what a call has shown.
func (n *node) leave(v visit, err error) {
	now := clock.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls[v.server]--
	if n.calls[v.server] == 0 {
		delete(n.calls, v.server)
	}
	if v.probe {
		n.probes--
	}
	if v.urgent {
		n.urgent--
	}
	n.worked = n.worked || err == nil
	switch {
	case err == nil || replied(err) || errors.Is(err, errGivenUp): // with a connection, and then for nobody
		n.silent, n.answered = false, now
	case now.Sub(v.start) >= n.timeout:
		n.overdue(v.start)
	}
}

// lookAgain has the client of a Redis Cluster look who serves what, in the background, where err is
// that of a call that nobody has answered. By itself go-redis does that once in a minute, or
// when a server answers that it is another's turn: one that is dead does not.
func (n *node) lookAgain(ctx context.Context, err error) {
	if err == nil || replied(err) || errors.Is(err, context.Canceled) || errors.Is(err, errGivenUp) {
		return
	}
	if c, ok := n.client.(interface{ ReloadState(ctx context.Context) }); ok {
		c.ReloadState(context.WithoutCancel(ctx))
	}
}

// isSilent reports whether a call has had no answer in time, and none has since.
func (n *node) isSilent() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.silent
}

// hangs notes that a call that began at start has had no answer in time.
func (n *node) hangs(start clock.Instant) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.overdue(start)
}

// overdue makes the node silent, unless it has answered since. mu must be held.
func (n *node) overdue(start clock.Instant) {
	if n.answered <= start {
		n.silent = true
	}
}

// passing reports whether the node's error may go away by itself. What a server refuses
// for good, like a password, does not, and so do certificates that do not fit; unless the
// node has worked before: then somebody will mend it.
func (n *node) passing(err error) bool {
	n.mu.Lock()
	worked := n.worked
	n.mu.Unlock()
	return passing(err) || worked && (denies(err) || distrusts(err))
}

// replied reports whether err is the server's own reply.
func replied(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// neverRun reports whether err says that the server did not get the request, or
// refused it: the scripts write last.
func neverRun(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return replied(err) || distrusts(err) || ok && op.Op == "dial" ||
		errors.Is(err, redis.ErrClosed) || errors.Is(err, redis.ErrPoolTimeout)
}

// broken reports whether err says that a connection ended in the middle of a call.
func broken(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op != "dial" && !op.Timeout() && !distrusts(err)
}

// passing reports whether an error may go away by itself.
func passing(err error) bool {
	if !replied(err) {
		return !errors.Is(err, redis.ErrClosed) && !distrusts(err)
	}
	return hasPrefix(err,
		"LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS", "NOSCRIPT",
		"OOM", "MISCONF", "MOVED", "ASK", "max number of clients")
}

// denies reports whether err is about who asks.
func denies(err error) bool { return hasPrefix(err, "NOPERM", "NOAUTH", "WRONGPASS") }

// hasPrefix reports whether the server's reply begins with one of the prefixes, or, up to
// Redis 6.2, says that a command of the script was refused with such a reply.
func hasPrefix(err error, prefixes ...string) bool {
	var refused string
	if redis.HasErrorPrefix(err, "Error running script") {
		_, refused, _ = strings.Cut(err.Error(), ": -")
	}
	for _, prefix := range prefixes {
		if redis.HasErrorPrefix(err, prefix) || strings.HasPrefix(refused, prefix) {
			return true
		}
	}
	return false
}

// distrusts reports whether err says that the two sides of a connection do not trust each
// other, or that one of them does not speak TLS.
func distrusts(err error) bool {
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	op, ok := errors.AsType[*net.OpError](err)
	alert := ok && (op.Op == "remote error" || op.Op == "local error") // as package tls calls them
	return certificate || plain || alert
}
