package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/timeline"
)

// aftermath is for how long an act goes on after what it is about.
const aftermath = 300 * time.Millisecond

// act is one thing to look at.
type act struct {
	name    string // in the table
	intro   string
	library library
	writes  bool // the workers write under guard
	proxied bool // the first worker can be cut off
	play    func(context.Context, *stage, settings) (outcome string, err error)
}

// settings are what all acts have in common.
type settings struct {
	workers  int
	hold     time.Duration
	ttl      time.Duration
	duration time.Duration
	recorded bool // on a chart
}

// result is what an act has shown.
type result struct {
	act          act
	took         []time.Duration // hand-overs
	rpcs         map[string]int
	acquisitions int
	outcome      string
	chart        timeline.Chart
}

// perform plays an act with workers of its own, on a lock of its own.
func perform(ctx context.Context, c *cluster.Cluster, a act, prefix string, set settings, v view) (result, error) {
	began := process.Now()
	cr, err := startCrew(ctx, c, a, prefix, set)
	if cr == nil {
		return result{}, err
	}
	names := make([]string, len(cr.processes))
	for i, p := range cr.processes {
		names[i] = p.Name()
	}
	s := &stage{crew: cr, board: newBoard(names), view: v, began: began}
	if set.recorded {
		s.chart = report.NewRecorder(began, names...)
	}
	r := result{act: a}
	if err == nil {
		r.outcome, err = a.play(ctx, s, set)
		r.chart = s.chart.Chart(process.Now(), a.name, r.outcome, a.library == official)
		s.leave(ctx)
	}
	r.took = s.board.took()
	r.rpcs, r.acquisitions = s.board.cost()
	return r, errors.Join(err, cr.close())
}

// playRun hands the lock around.
func playRun(ctx context.Context, s *stage, set settings) (string, error) {
	if err := s.warmUp(ctx); err != nil {
		return "", err
	}
	if err := s.watch(ctx, set.duration); err != nil {
		return "", err
	}
	s.say(process.Now(), "%s", screen.Spread("hand-overs", s.board.took()))
	return "", nil
}

// playCrash kills the holder.
func playCrash(ctx context.Context, s *stage, _ settings) (string, error) {
	p, hold, err := s.upToTheFault(ctx)
	if err != nil {
		return "", err
	}
	e, err := s.fault(ctx, p, killed, p.Kill)
	if err != nil {
		return "", err
	}
	s.say(e.At, "%s, the holder with token %s, is killed (SIGKILL)", p.Name(), s.board.token(hold))
	next, err := s.successor(ctx, p)
	if err != nil {
		return "", err
	}
	after := screen.Short(time.Duration(next.At - e.At))
	s.say(next.At, "%s is granted token %s, %s after the kill (TTL %s)", next.Worker, s.board.token(next), after, s.board.ttl)
	return fmt.Sprintf("successor granted %s after the kill (TTL %s)", after, s.board.ttl), s.watch(ctx, aftermath)
}

// upToTheFault waits until the first worker has the lock and keeps it.
func (s *stage) upToTheFault(ctx context.Context) (*process.Process, event, error) {
	if err := s.warmUp(ctx); err != nil {
		return nil, event{}, err
	}
	p, hold, err := s.victim(ctx)
	if err != nil {
		return nil, event{}, err
	}
	return p, hold, s.watch(ctx, aftermath)
}

// playPause stops the holder past its TTL.
func playPause(ctx context.Context, s *stage, _ settings) (string, error) {
	p, hold, err := s.upToTheFault(ctx)
	if err != nil {
		return "", err
	}
	e, err := s.fault(ctx, p, stopped, func() error { return p.Pause(ctx) })
	if err != nil {
		return "", err
	}
	s.say(e.At, "%s, the holder with token %s, is stopped (SIGSTOP)", p.Name(), s.board.token(hold))
	next, err := s.successor(ctx, p)
	if err != nil {
		return "", err
	}
	s.say(next.At, "%s is granted token %s, %s after the stop (TTL %s)",
		next.Worker, s.board.token(next), screen.Short(time.Duration(next.At-e.At)), s.board.ttl)
	if err := s.watch(ctx, aftermath); err != nil {
		return "", err
	}
	return s.wake(ctx, p)
}

// wake continues a worker whose lock has been taken over meanwhile.
func (s *stage) wake(ctx context.Context, p *process.Process) (string, error) {
	e, err := s.act(ctx, p, holds, p.Resume)
	if err != nil {
		return "", err
	}
	s.say(e.At, "%s wakes up (SIGCONT) in the middle of its work", p.Name())
	told, write, err := s.toldAndWrote(ctx, p)
	if err != nil {
		return "", err
	}
	s.say(told.At, "%s is told, %s after waking: %s", p.Name(), screen.Short(time.Duration(told.At-e.At)), told.Detail)
	return s.sayLateWrite(write), s.watch(ctx, aftermath)
}

// toldAndWrote waits until a worker was told of its loss and its late write answered.
func (s *stage) toldAndWrote(ctx context.Context, p *process.Process) (told, write event, err error) {
	_, err = s.await(ctx, "the end of the hold of "+p.Name(), func(e event) bool {
		switch {
		case e.Worker != p.Name():
		case e.Kind == lost:
			told = e
		case e.Kind == wrote:
			write = e
		}
		return told.At != 0 && write.At != 0
	})
	return told, write, err
}

// sayLateWrite tells what became of a write under a hold that was lost.
func (s *stage) sayLateWrite(write event) string {
	outcome := "refused by etcd"
	switch {
	case write.OK:
		outcome = "ACCEPTED by etcd"
	case write.Detail != "":
		outcome = "not answered: " + write.Detail
	}
	s.say(write.At, "its late write, guarded by the hold it lost, is %s", outcome)
	return "late guarded write " + outcome
}
