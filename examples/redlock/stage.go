package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/workers"
)

const (
	// patience is how long a stage waits for something, beyond three TTLs.
	patience = 20 * time.Second
	// exitTimeout bounds the workers' end: their own clean-up and a little more.
	exitTimeout = closeTimeout + 2*time.Second
	// aftermath is for how long an act goes on after what it is about.
	aftermath = 300 * time.Millisecond
)

// stage is where an act takes place: a crew and the nodes, what is known of them, and
// who looks on.
type stage struct {
	*crew

	servers *servers
	board   *board
	view    view
	began   int64
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
	case e := <-s.Out():
		s.board.apply(e)
		s.view.update(s.board)
		if e.Kind == exited && e.Detail != "" {
			return e, errors.New(strings.ReplaceAll(e.Detail, "\n", "; "))
		}
		return e, nil
	}
}

// await waits for an event that meets a condition.
func (s *stage) await(ctx context.Context, what string, cond func(event) bool) (event, error) {
	return workers.Await(ctx, s.next, patience+3*s.job.TTL, what, cond)
}

// watch looks on for a while.
func (s *stage) watch(ctx context.Context, d time.Duration) error {
	return workers.Watch(ctx, s.next, d)
}

// first is the worker that things are done to.
func (s *stage) first() *crewMember { return s.members[0] }

// others are the rest.
func (s *stage) others() []*crewMember { return s.members[1:] }

// ask sends a line to workers.
func (s *stage) ask(line string, members ...*crewMember) error {
	for _, m := range members {
		if err := m.Send(line); err != nil {
			return err
		}
	}
	return nil
}

// warmUp lets every worker have the lock once, one after another: connections are made
// then, and servers learn the scripts.
func (s *stage) warmUp(ctx context.Context) error {
	for _, m := range s.members {
		if err := s.ask(askOnce, m); err != nil {
			return err
		}
		if _, err := s.await(ctx, m.Name()+" with the lock", func(e event) bool { return e.is(unlocked, m.Name()) }); err != nil {
			return err
		}
	}
	return nil
}

// rest has workers that ask again and again ask no more.
func (s *stage) rest(ctx context.Context, members ...*crewMember) error {
	for _, m := range members {
		if err := s.ask(askRest, m); err != nil {
			return err
		}
		if _, err := s.await(ctx, m.Name()+"'s rest", func(e event) bool { return e.is(rests, m.Name()) }); err != nil {
			return err
		}
	}
	return nil
}

// stays has the first worker take the lock and keep it.
func (s *stage) stays(ctx context.Context) (event, error) {
	p := s.first()
	if err := s.ask(askStay, p); err != nil {
		return event{}, err
	}
	return s.await(ctx, "the lock at "+p.Name(), func(e event) bool { return e.is(granted, p.Name()) })
}

// handOver looks on until the lock has changed hands some times more, and says how
// long that took.
func (s *stage) handOver(ctx context.Context, times int, where string) error {
	before := len(s.board.handovers)
	e, err := s.await(ctx, fmt.Sprintf("%d hand-overs %s", times, where), func(event) bool {
		return len(s.board.handovers) >= before+times
	})
	if err == nil {
		s.say(e.At, "%s: %s", where, spread(s.board.handovers[before:]))
	}
	return err
}

// leave has every worker end, in good order if they can; [crew.close] ends the rest.
func (s *stage) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exitTimeout)
	defer cancel()
	s.quit()
	if s.Drain(ctx, s.board.apply, func() bool { return s.board.running() == 0 }) != nil {
		return fmt.Errorf("%d workers have not ended within %s", s.board.running(), exitTimeout)
	}
	return nil
}
