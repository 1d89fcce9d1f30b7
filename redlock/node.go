package redlock

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/internal/clock"
)

// maxRepeats bounds how often a request is repeated at once whose connection broke.
const maxRepeats = 3

// maxProbes bounds the calls under way to a node that does not answer.
const maxProbes = 4

// node is one Redis server, or what stands for one.
type node struct {
	name    string
	client  redis.UniversalClient
	timeout time.Duration

	// A node that has let a call time out is silent until it answers one. Until then
	// it is asked once in a node timeout, so that calls do not pile up at a server
	// that hangs: without go-redis's ContextTimeoutEnabled each lasts for the client's
	// read timeout. (Client.WithTimeout would shorten that, but loses hooks.)
	mu       sync.Mutex
	silent   bool
	probes   int           // under way
	probed   clock.Instant // when the last one began
	answered clock.Instant // when the last call ended that was answered
}

func newNode(name string, client redis.UniversalClient, timeout time.Duration) *node {
	return &node{name: name, client: client, timeout: timeout, answered: math.MinInt64}
}

// call runs a script on the node. certain reports whether that was done with when call
// returned: with a reply to the only request, or without having sent one. Otherwise a
// request may still arrive. call may last longer than the node timeout.
func (n *node) call(ctx context.Context, s script, q request) (reply any, certain bool, err error) {
	v, ok := n.enter()
	if !ok {
		return nil, true, errSilent
	}
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
	n.leave(v, err)
	return reply, certain, err
}

// visit is a call under way.
type visit struct {
	start clock.Instant
	probe bool // of a silent node
}

// enter reports whether the node may be asked.
func (n *node) enter() (v visit, ok bool) {
	v.start = clock.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.silent {
		return v, true
	}
	if n.probes >= maxProbes || n.probes > 0 && v.start.Sub(n.probed) < n.timeout {
		return v, false
	}
	n.probes++
	n.probed, v.probe = v.start, true
	return v, true
}

// leave notes what a call has shown.
func (n *node) leave(v visit, err error) {
	now := clock.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if v.probe {
		n.probes--
	}
	switch {
	case err == nil || replied(err):
		n.silent, n.answered = false, now
	case now.Sub(v.start) >= n.timeout:
		n.overdue(v.start)
	}
}

// hangs notes that a call from start has had no answer in time.
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

// replied reports whether err is the server's own reply.
func replied(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// neverRun reports whether err says that the server did not get the request, or
// refused it: the scripts write last.
func neverRun(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return replied(err) || ok && op.Op == "dial" || errors.Is(err, redis.ErrClosed) || errors.Is(err, redis.ErrPoolTimeout)
}

// broken reports whether err says that a connection ended in the middle of a call.
func broken(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op != "dial" && !op.Timeout()
}

// passing reports whether a node's error may go away by itself. What a server refuses
// for good, like a password, does not.
func passing(err error) bool {
	if !replied(err) {
		return !errors.Is(err, redis.ErrClosed)
	}
	for _, prefix := range []string{
		"LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "NOREPLICAS", "NOSCRIPT",
		"OOM", "MISCONF", "MOVED", "ASK", "max number of clients",
	} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}
