package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
)

const (
	// patience is how long a stage waits for something, beyond three TTLs.
	patience = 20 * time.Second
	// exitTimeout bounds the candidates' end: a resignation, their own clean-up and a
	// little more.
	exitTimeout = 2*closeTimeout + time.Second
)

// stage is where the election takes place: the candidates, what is known of them,
// and who looks on.
type stage struct {
	*crew

	board *board
	view  view
	chart *report.Recorder // nil without -html
	keys  <-chan string    // what the user presses; nil if nobody can
	key   string           // the latest that was not heeded yet
	began int64
}

// say tells the audience what happened at a time.
func (s *stage) say(at int64, format string, args ...any) {
	s.view.Say(time.Duration(at-s.began), fmt.Sprintf(format, args...))
}

// next waits for the next event and shows what it means.
func (s *stage) next(ctx context.Context) (event, error) {
	select {
	case <-ctx.Done():
		return event{}, context.Cause(ctx)
	case s.key = <-s.keys:
		return event{At: process.Now(), Kind: pressed, Detail: s.key}, nil
	case e := <-s.Out():
		s.board.apply(e)
		chart(s.chart, e)
		s.view.update(s.board)
		if e.Kind == failed || e.Kind == exited && e.Detail != "" {
			return e, errors.New(strings.ReplaceAll(e.Detail, "\n", "; "))
		}
		return e, nil
	}
}

// await waits for an event that meets a condition.
func (s *stage) await(ctx context.Context, what string, cond func(event) bool) (event, error) {
	return workers.Await(ctx, s.next, patience+3*s.job.TTL, what, cond)
}

// linger looks on for a while.
func (s *stage) linger(ctx context.Context) error { return workers.Watch(ctx, s.next, aftermath) }

// settle waits until one candidate leads and all others wait, and returns the one
// who leads.
func (s *stage) settle(ctx context.Context) (*candidate, error) {
	if !s.board.settled() {
		_, err := s.await(ctx, "a leader with all others waiting", func(event) bool { return s.board.settled() })
		if err != nil {
			return nil, err
		}
	}
	return s.find(s.board.line()[0])
}

// sayOrder says who leads and who waits, once that is settled.
func (s *stage) sayOrder(ctx context.Context) error {
	leader, err := s.settle(ctx)
	if err != nil {
		return err
	}
	s.say(process.Now(), "%s leads, term %s; waiting, in this order: %s", leader.job.Worker,
		s.board.member(leader.job.Worker).token, strings.Join(s.board.line()[1:], ", "))
	return nil
}

// act does something to the leader, which is then on record like its own events.
func (s *stage) act(ctx context.Context, c *candidate, what doing, do func() error) (event, error) {
	e := event{At: process.Now(), Worker: c.Name(), Kind: acted, Detail: string(what)}
	if err := do(); err != nil {
		return e, fmt.Errorf("%s: %s: %w", c.Name(), what, err)
	}
	s.Add(e)
	return s.await(ctx, e.Detail, func(x event) bool { return x.Kind == acted && x.Worker == c.Name() })
}

// errDeposed is that a leader has lost its term before it could do what it was asked.
var errDeposed = errors.New("the leader has lost its term by itself")

// ask asks something of the leader and waits until it is about to do it.
func (s *stage) ask(ctx context.Context, c *candidate, line string, about kind) (event, error) {
	if err := c.Send(line); err != nil {
		return event{}, err
	}
	e, err := s.await(ctx, "what "+c.Name()+" was asked", func(e event) bool {
		return (e.Kind == about || e.Kind == told) && e.Worker == c.Name()
	})
	if err == nil && e.Kind != about {
		return e, errDeposed
	}
	return e, err
}

// pressed waits for a key, unless one is waiting to be heeded.
func (s *stage) pressed(ctx context.Context) (string, error) {
	for s.key == "" {
		if _, err := s.next(ctx); err != nil {
			return "", err
		}
	}
	key := s.key
	s.key = ""
	return key, nil
}

// leave has every candidate end, in good order if they can; [crew.close] ends the
// rest.
func (s *stage) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exitTimeout)
	defer cancel()
	s.quit()
	_ = s.Drain(ctx, s.board.apply, func() bool { return s.board.running() == 0 })
}
