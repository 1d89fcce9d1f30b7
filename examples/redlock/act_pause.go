package main

import (
	"context"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
)

// playPause stops the holder, which has just asked whether it may write, past its TTL.
func playPause(ctx context.Context, s *stage) error {
	p := s.first()
	hold, err := s.alone(ctx)
	if err != nil {
		return err
	}
	if err := s.ask(askCheck, p); err != nil {
		return err
	}
	e, err := s.await(ctx, "a look at the hold", func(e event) bool { return e.is(checked, p.Name()) })
	if err != nil {
		return err
	}
	if !e.OK {
		return fmt.Errorf("%s lost the lock before it was stopped", p.Name())
	}
	s.say(hold.At, "%s has the lock, and is about to write", p.Name())
	stop, err := s.act(ctx, p, stopped, func() error { return p.Pause(ctx) })
	if err != nil {
		return err
	}
	s.say(stop.At, "%s is stopped (SIGSTOP), just after its Hold said that all is well", p.Name())
	if err := s.ask(askOn, s.others()...); err != nil {
		return err
	}
	next, err := s.otherWrites(ctx)
	if err != nil {
		return err
	}
	s.say(next.At, "%s has the lock and has written, %s after the stop (TTL %s)", next.Worker, screen.Short(time.Duration(next.At-stop.At)), s.job.TTL)
	if err := s.watch(ctx, aftermath); err != nil {
		return err
	}
	return s.wake(ctx)
}

// wake continues the first worker, which writes at once.
func (s *stage) wake(ctx context.Context) error {
	p := s.first()
	if err := s.ask(askWrite, p); err != nil {
		return err
	}
	e, err := s.act(ctx, p, holds, p.Resume)
	if err != nil {
		return err
	}
	s.say(e.At, "%s wakes up (SIGCONT) and goes on where it was", p.Name())
	var write, told event
	_, err = s.await(ctx, "what "+p.Name()+" does then", func(e event) bool {
		switch {
		case e.is(wrote, p.Name()):
			write = e
		case e.is(lost, p.Name()):
			told = e
		}
		return write.At != 0 && told.At != 0
	})
	if err != nil {
		return err
	}
	s.say(write.At, "it writes, and nothing stops it: there is no token to refuse it by")
	s.say(told.At, "it is told, %s after waking: %s", screen.Short(time.Duration(told.At-e.At)), told.Detail)
	return s.watch(ctx, aftermath)
}

// alone warms up and has the first worker take the lock while the others rest.
func (s *stage) alone(ctx context.Context) (event, error) {
	if err := s.warmUp(ctx); err != nil {
		return event{}, err
	}
	return s.stays(ctx)
}

// otherWrites waits until another than the first worker has written.
func (s *stage) otherWrites(ctx context.Context) (event, error) {
	return s.await(ctx, "a successor", func(e event) bool { return e.Kind == wrote && e.Worker != s.first().Name() })
}

// act does something to a worker, which is then on record like its own events.
func (s *stage) act(ctx context.Context, m *crewMember, what doing, do func() error) (event, error) {
	e := event{At: process.Now(), Worker: m.Name(), Kind: acted, Detail: string(what)}
	if err := do(); err != nil {
		return e, fmt.Errorf("%s: %s: %w", m.Name(), what, err)
	}
	s.Add(e)
	return s.await(ctx, e.Detail, func(x event) bool { return x.is(acted, m.Name()) })
}
