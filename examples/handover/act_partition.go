package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
)

// officialCuts is how often clientv3/concurrency may be cut off until there are two
// holders. About two of five cuts do that.
const officialCuts = 2

// playPartition cuts the holder off.
func playPartition(ctx context.Context, s *stage, _ settings) (outcome string, err error) {
	cuts := 1
	if s.job.Library == official {
		cuts = officialCuts
	}
	if err := s.warmUp(ctx); err != nil {
		return "", err
	}
	for two := false; cuts > 0 && !two && err == nil; cuts-- {
		outcome, two, err = s.cut(ctx)
	}
	return outcome, err
}

// cut blackholes the holder's connections for as long as it has the lock, and reports
// whether there were two holders.
func (s *stage) cut(ctx context.Context) (outcome string, two bool, err error) {
	p, hold, err := s.victim(ctx)
	if err != nil {
		return "", false, err
	}
	// Partitions do not come at an agreed point of the renewals, and who is told when
	// may depend on that.
	if err := s.watch(ctx, rand.N(time.Second)); err != nil {
		return "", false, err
	}
	cut, err := s.fault(ctx, p, cutOff, func() error { s.proxy.Blackhole(); return nil })
	if err != nil {
		return "", false, err
	}
	s.say(cut.At, "%s, the holder with token %s, is cut off from etcd", p.Name(), s.board.token(hold))
	told, next, err := s.toldAndSucceeded(ctx, p, cut)
	if err != nil {
		return "", false, err
	}
	outcome = verdict(told, next)
	s.say(max(told.At, next.At), "so it was %s", outcome)
	return outcome, told.At > next.At, s.heal(ctx, p)
}

// toldAndSucceeded waits until the holder was told of its loss and another was
// granted the lock, whichever comes first.
func (s *stage) toldAndSucceeded(ctx context.Context, p *process.Process, cut event) (told, next event, err error) {
	_, err = s.await(ctx, "the end of the hold of "+p.Name(), func(e event) bool {
		switch {
		case e.Kind == lost && e.Worker == p.Name():
			told = e
			s.say(e.At, "%s is told, %s after the cut: %s", p.Name(), screen.Short(time.Duration(e.At-cut.At)), e.Detail)
		case next.At == 0 && e.At > cut.At && grantedToOther(p)(e):
			next = e
			s.say(e.At, "%s is granted token %s, %s after the cut", e.Worker, s.board.token(e), screen.Short(time.Duration(e.At-cut.At)))
		}
		return told.At != 0 && next.At != 0
	})
	return told, next, err
}

// verdict says whether there were two holders.
func verdict(told, next event) string {
	if told.At > next.At {
		return fmt.Sprintf("told %s AFTER its successor was granted: two holders", screen.Short(time.Duration(told.At-next.At)))
	}
	return fmt.Sprintf("told %s before its successor was granted", screen.Short(time.Duration(next.At-told.At)))
}

// heal ends the cut, and waits for what the old holder sent meanwhile.
func (s *stage) heal(ctx context.Context, p *process.Process) error {
	healed, err := s.act(ctx, p, between, func() error { s.proxy.Heal(); return nil })
	if err != nil {
		return err
	}
	s.say(healed.At, "the cut is healed")
	write, err := s.await(ctx, "the late write of "+p.Name(), func(e event) bool {
		return e.Kind == wrote && e.Worker == p.Name()
	})
	if err != nil {
		return err
	}
	s.sayLateWrite(write)
	back, err := s.await(ctx, p.Name()+"'s return", func(e event) bool {
		return e.Kind == granted && e.Worker == p.Name()
	})
	if err != nil {
		return err
	}
	s.say(back.At, "%s is back in the queue and granted token %s", p.Name(), s.board.token(back))
	return nil
}
