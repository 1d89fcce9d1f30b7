package main

import (
	"context"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// playPause stops the leader past its TTL.
func playPause(ctx context.Context, s *stage, c *candidate) error {
	fault, err := s.act(ctx, c, stopped, func() error { return c.Pause(ctx) })
	if err != nil {
		return err
	}
	s.say(fault.At, "%s, the leader of term %s, is stopped (SIGSTOP)", c.Name(), s.board.member(c.Name()).token)
	next, err := s.successor(ctx, c, fault)
	if err != nil {
		return err
	}
	s.finished(fault, next, "pause", "stop")
	if err := s.linger(ctx); err != nil {
		return err
	}
	woken, err := s.act(ctx, c, leading, c.Resume)
	if err != nil {
		return err
	}
	s.say(woken.At, "%s wakes up (SIGCONT) and still believes that it leads", c.Name())
	var end, write event
	_, err = s.await(ctx, "the late write of "+c.Name(), func(e event) bool {
		switch {
		case e.Worker != c.Name():
		case e.Kind == told:
			end = e
		case e.Kind == wrote:
			write = e
		}
		return end.At != 0 && write.At != 0
	})
	if err != nil {
		return err
	}
	s.say(end.At, "%s is told, %s after waking: %s", c.Name(), screen.Short(time.Duration(end.At-woken.At)), end.Detail)
	s.sayLateWrite(write)
	return nil
}

// playPartition blackholes the leader's connections until the next is elected.
func playPartition(ctx context.Context, s *stage, c *candidate) error {
	fault, err := s.act(ctx, c, cutOff, func() error { c.proxy.Blackhole(); return nil })
	if err != nil {
		return err
	}
	s.say(fault.At, "%s, the leader of term %s, is cut off from etcd", c.Name(), s.board.member(c.Name()).token)
	if err := s.toldAndSucceeded(ctx, c, fault); err != nil {
		return err
	}
	if err := s.linger(ctx); err != nil {
		return err
	}
	healed, err := s.act(ctx, c, toldLost, func() error { c.proxy.Heal(); return nil })
	if err != nil {
		return err
	}
	s.say(healed.At, "the cut is healed")
	write, err := s.await(ctx, "the late write of "+c.Name(), func(e event) bool {
		return e.Kind == wrote && e.Worker == c.Name()
	})
	if err != nil {
		return err
	}
	s.sayLateWrite(write)
	return nil
}

// toldAndSucceeded waits until the leader was told of its loss and another was
// elected, whichever comes first.
func (s *stage) toldAndSucceeded(ctx context.Context, c *candidate, fault event) error {
	var end event
	var f *failover
	_, err := s.await(ctx, "the end of the term of "+c.Name(), func(e event) bool {
		if e.Kind == told && e.Worker == c.Name() {
			end = e
			s.say(e.At, "%s is told, %s after the cut: %s", c.Name(), screen.Short(time.Duration(e.At-fault.At)), e.Detail)
		}
		if next := s.board.record.after(fault.At, c.Name()); next != nil && f == nil {
			f = s.finished(fault, next, "partition", "cut")
		}
		return end.At != 0 && f != nil
	})
	if err != nil {
		return err
	}
	f.told = time.Duration(fault.At-end.At) + f.took
	s.say(max(end.At, fault.At+int64(f.took)), "so it was told %s was elected", verdict(f.told))
	return nil
}

// verdict says which came first.
func verdict(told time.Duration) string {
	if told < 0 {
		return screen.Short(-told) + " AFTER the next"
	}
	return screen.Short(told) + " before the next"
}

// sayLateWrite tells what became of a write of a term that was lost.
func (s *stage) sayLateWrite(write event) {
	outcome := "refused by etcd"
	switch {
	case write.OK:
		outcome = "ACCEPTED by etcd"
	case write.Detail != "":
		outcome = "not answered: " + write.Detail
	}
	s.say(write.At, "its late write, guarded by the term it lost, is %s", outcome)
}
