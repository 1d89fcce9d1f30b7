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
	// exitTimeout bounds the workers' end: their own clean-up and a little more.
	exitTimeout = closeTimeout + time.Second
)

// stage is where an act takes place: a crew, what is known of it, and who looks on.
type stage struct {
	*crew

	board *board
	view  view
	chart *report.Recorder
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
	case e := <-s.Out():
		h, handed := s.board.apply(e)
		s.board.record(s.chart, e)
		s.view.update(s.board)
		if handed {
			s.view.handover(time.Duration(e.At-s.began), s.board, h)
		}
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

// warmUp waits until every worker has had the lock.
func (s *stage) warmUp(ctx context.Context) error {
	_, err := s.await(ctx, "all workers", func(event) bool {
		for _, m := range s.board.members.All() {
			if m.acquired == 0 {
				return false
			}
		}
		return true
	})
	return err
}

// victim has the first worker keep the lock when it has it next.
func (s *stage) victim(ctx context.Context) (*process.Process, event, error) {
	p := s.processes[0]
	if err := p.Send(stay); err != nil {
		return nil, event{}, err
	}
	e, err := s.await(ctx, "the lock at "+p.Name(), func(e event) bool {
		return e.Kind == granted && e.Worker == p.Name() && e.Stays
	})
	return p, e, err
}

// act does something to a worker, which is then on record like its own events.
func (s *stage) act(ctx context.Context, p *process.Process, what doing, do func() error) (event, error) {
	e := event{At: process.Now(), Worker: p.Name(), Kind: acted, Detail: string(what)}
	if err := do(); err != nil {
		return e, fmt.Errorf("%s: %s: %w", p.Name(), what, err)
	}
	s.Add(e)
	return s.await(ctx, e.Detail, func(x event) bool { return x.Kind == acted && x.Worker == p.Name() })
}

// errDeposed is that the holder has lost the lock before anything was done to it: on a
// busy machine leases end.
var errDeposed = errors.New("the holder has lost the lock by itself")

// fault does something to the holder, unless that is no longer the holder by then.
func (s *stage) fault(ctx context.Context, p *process.Process, what doing, do func() error) (event, error) {
	if !s.board.member(p.Name()).has {
		return event{}, errDeposed
	}
	e, err := s.act(ctx, p, what, do)
	if err == nil && !s.board.member(p.Name()).has {
		err = errDeposed
	}
	return e, err
}

// successor waits for a grant to another than p.
func (s *stage) successor(ctx context.Context, p *process.Process) (event, error) {
	return s.await(ctx, "the successor of "+p.Name(), grantedToOther(p))
}

func grantedToOther(p *process.Process) func(event) bool {
	return func(e event) bool { return e.Kind == granted && e.Worker != p.Name() }
}

// leave has every worker end, in good order if they can; [crew.close] ends the rest.
func (s *stage) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exitTimeout)
	defer cancel()
	s.quit()
	_ = s.Drain(ctx, func(e event) { s.board.apply(e) }, func() bool { return s.board.running() == 0 })
}
