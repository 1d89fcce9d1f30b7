package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
)

// act is one thing to look at.
type act struct {
	name    string // in the table
	intro   string
	breaks  bool // two holders, or a late write, are what is documented
	proxied bool // ways to nodes can be cut
	young   bool // nodes that have just restarted have no vote: WithMinUptime
	play    func(context.Context, *stage) error
}

// settings are what all acts have in common.
type settings struct {
	workers  int
	hold     time.Duration
	ttl      time.Duration
	duration time.Duration
}

// result is what an act has shown.
type result struct {
	act     act
	took    []time.Duration // hand-overs
	verdict verdict
}

// perform plays an act with workers of its own, on a lock and a ledger of their own.
func perform(ctx context.Context, s *servers, a act, key, dir string, set settings, v view) (r result, err error) {
	began := process.Now()
	j := job{Name: key, Ledger: filepath.Join(dir, "ledger"), TTL: set.ttl, Hold: set.hold}
	if a.young {
		j.MinUptime = set.ttl
	}
	if err := createLedger(j.Ledger); err != nil {
		return r, err
	}
	c, err := startCrew(s, a, j, set.workers)
	defer func() { err = errors.Join(err, c.close()) }()
	if err != nil {
		return r, err
	}
	names := make([]string, len(c.members))
	for i, m := range c.members {
		names[i] = m.Name()
	}
	st := &stage{crew: c, servers: s, board: newBoard(names, len(s.list)), view: v, began: began}
	err = errors.Join(a.play(ctx, st), st.leave(ctx))
	if err != nil {
		return r, err
	}
	number, err := readLedger(j.Ledger)
	r = result{act: a, took: st.board.handovers, verdict: st.board.record.judge(a.breaks, number)}
	st.say(process.Now(), "%s", r.verdict)
	return r, err
}

// spread says in short how long hand-overs took.
func spread(took []time.Duration) string {
	sorted := slices.Sorted(slices.Values(took))
	return fmt.Sprintf("%d hand-overs, p50 %s, max %s",
		len(sorted), screen.Millis(screen.Percentile(sorted, 50)), screen.Millis(screen.Percentile(sorted, 100)))
}

// playRun hands the lock around.
func (set *settings) playRun(ctx context.Context, s *stage) error {
	if err := errors.Join(s.warmUp(ctx), s.ask(askOn, s.members...)); err != nil {
		return err
	}
	for left := set.duration; left > 0; left -= time.Second {
		before := len(s.board.handovers)
		if err := s.watch(ctx, min(left, time.Second)); err != nil {
			return err
		}
		s.say(process.Now(), "%s", spread(s.board.handovers[before:]))
	}
	return nil
}
