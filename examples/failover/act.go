package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
)

// aftermath is for how long there is nothing to see but the outcome of something.
const aftermath = 500 * time.Millisecond

// errStays is that a leader could not give its term to another.
var errStays = errors.New("the leader stays")

// act is something that ends a term.
type act struct {
	name  string
	key   string // that a user presses
	intro string
	play  func(context.Context, *stage, *candidate) error // with the leader
}

// acts returns all of them, in the order in which they are played.
func acts() []act {
	all := []act{
		{"crash", "c", "The leader is killed: its lease has to end before the next is elected.", playCrash},
		{"pause", "p", "The leader is stopped past its TTL: what it writes on waking is refused.", playPause},
		{"partition", "x", "The leader is cut off: it is told before the next is elected.", playPartition},
		{"transfer", "t", "The leader gives its term to the last in the queue.", playTransfer},
		{"resign", "r", "The leader resigns: the next is elected at once.", playResign},
	}
	if !process.CanPause {
		all = append(all[:1], all[2:]...)
	}
	return all
}

// failover is the end of a term and the beginning of the next.
type failover struct {
	act  string
	took time.Duration // from the fault to the moment at which the next knew
	told time.Duration // by how much the leader was told before that; 0 if it was not
}

// finished records a fail-over, and says that there is a new leader.
func (s *stage) finished(fault event, next *term, of, since string) *failover {
	took := time.Duration(next.from - fault.At)
	s.say(next.from, "%s is elected, term %s, %s after the %s", next.worker, next.token, screen.Short(took), since)
	s.board.failovers = append(s.board.failovers, failover{act: of, took: took})
	return &s.board.failovers[len(s.board.failovers)-1]
}

// successor waits for the next term of another than c. The record is asked, and not
// the next events: on a busy machine those of two processes may come in another order
// than they happened.
func (s *stage) successor(ctx context.Context, c *candidate, fault event) (*term, error) {
	next := func() *term { return s.board.record.after(fault.At, c.Name()) }
	if t := next(); t != nil {
		return t, nil
	}
	e, err := s.await(ctx, "the successor of "+c.Name(), func(e event) bool { return next() != nil || e.Kind == refused })
	if err == nil && next() == nil {
		return nil, fmt.Errorf("%w: %s", errStays, e.Detail)
	}
	return next(), err
}

// playResign has the leader resign.
func playResign(ctx context.Context, s *stage, c *candidate) error {
	fault, err := s.ask(ctx, c, askResign, resigns)
	if err != nil {
		return err
	}
	s.say(fault.At, "%s resigns from term %s", c.Name(), fault.Token)
	next, err := s.successor(ctx, c, fault)
	if err != nil {
		return err
	}
	s.finished(fault, next, "resign", "resignation")
	return nil
}

// playTransfer has the leader prefer the last in the queue to all before.
func playTransfer(ctx context.Context, s *stage, c *candidate) error {
	line := s.board.line()
	to := line[len(line)-1]
	fault, err := s.ask(ctx, c, askTransfer+to, transfers)
	if err != nil {
		return err
	}
	s.say(fault.At, "%s gives term %s to %s, past %s", c.Name(), fault.Token, to, count(len(line)-2, "other"))
	next, err := s.successor(ctx, c, fault)
	switch {
	case errors.Is(err, errStays): // the last has lost its place meanwhile
		s.say(process.Now(), "%v", err)
		return nil
	case err != nil:
		return err
	}
	s.finished(fault, next, "transfer", "transfer")
	return nil
}

// playCrash kills the leader, and starts it again later.
func playCrash(ctx context.Context, s *stage, c *candidate) error {
	fault, err := s.act(ctx, c, killed, c.Kill)
	if err != nil {
		return err
	}
	s.say(fault.At, "%s, the leader of term %s, is killed (SIGKILL)", c.Name(), s.board.member(c.Name()).token)
	next, err := s.successor(ctx, c, fault)
	if err != nil {
		return err
	}
	s.finished(fault, next, "crash", "kill")
	if err := s.linger(ctx); err != nil {
		return err
	}
	// Nobody reports under one name twice: the old process has ended by now.
	c.Wait()
	at, err := s.act(ctx, c, starting, func() error { return s.start(c) })
	if err == nil {
		s.say(at.At, "%s is started again, in a process of its own", c.Name())
	}
	return err
}
