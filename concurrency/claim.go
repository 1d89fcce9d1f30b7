package concurrency

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lock"
)

// claimKey names a mutex or an election of a session.
type claimKey struct {
	prefix   string
	election bool
}

// claim is what a session has of one mutex or election. Whoever has the turn may change
// it: those who wait for the turn find what the one before has got.
type claim struct {
	turn chan struct{} // holds one token
	// waiting is set while whoever has the turn may wait for another session.
	waiting atomic.Bool
	hold    *lock.Hold
	term    *election.Term
}

// claim returns the session's claim to a mutex or election.
func (s *Session) claim(key claimKey) *claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.claims[key]
	if c == nil {
		c = &claim{turn: make(chan struct{}, 1)}
		c.turn <- struct{}{}
		s.claims[key] = c
	}
	return c
}

// take waits for the turn until ctx or the session ends, and returns how to give it back.
func (c *claim) take(ctx context.Context, s *Session) (release func(), err error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	select {
	case <-c.turn:
		return func() { c.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.done:
		return nil, s.lease.Err()
	}
}

// holds reports whether the session has the mutex, and asks the server for that: an operator
// may have deleted the key. The turn must be held.
func (c *claim) holds(ctx context.Context) (bool, error) {
	if c.hold == nil {
		return false, nil
	}
	_, err := c.hold.Txn(ctx).Commit()
	switch {
	case err == nil:
		return true, nil
	case c.hold.Err() == nil: // it is not known
		return false, err
	}
	c.hold = nil
	return false, nil
}

// proclaims puts a value into the term that the session has, and reports whether it has one.
// If that fails, the term is given up: nobody leads after a Campaign that has failed. The turn
// must be held.
func (c *claim) proclaims(ctx context.Context, val string) (bool, error) {
	if c.term == nil {
		return false, nil
	}
	t := c.term
	err := t.Proclaim(ctx, val)
	if err == nil {
		return true, nil
	}
	c.term = nil
	if t.Err() != nil {
		return false, nil
	}
	_ = t.Resign(ctx) // the session finishes what fails
	return false, err
}

// leftover is what an earlier user of the session's lease has left under the key that the
// session would use.
type leftover struct {
	key     string
	created int64 // 0 if there is nothing
	first   bool  // nobody is before it
}

// left returns what is left under a prefix. Only a lease that was adopted can have had an
// earlier user.
func (s *Session) left(ctx context.Context, prefix string) (leftover, error) {
	l := leftover{key: fmt.Sprintf("%s%x", prefix, int64(s.Lease()))}
	if s.opts.leaseID == clientv3.NoLease {
		return l, nil
	}
	resp, err := s.client.Txn(ctx).Then(clientv3.OpGet(l.key), clientv3.OpGet(prefix, clientv3.WithFirstCreate()...)).Commit()
	if err != nil {
		return l, err
	}
	own, first := resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs
	if len(own) > 0 && own[0].Lease == int64(s.Lease()) {
		l.created = own[0].CreateRevision
		l.first = first[0].CreateRevision == l.created
	}
	return l, nil
}

var errNoSession = errors.New("concurrency: session is nil or zero: must come from NewSession")

// check refuses a session that did not come from NewSession.
func (s *Session) check() error {
	if s == nil || s.inner == nil {
		return errNoSession
	}
	return nil
}
