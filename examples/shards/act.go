package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

const (
	gone   = "m1" // the member that leaves
	cutOff = "m2" // the one that is cut off from etcd
)

// play plays all acts.
func (s *stage) play(ctx context.Context) error {
	for i, a := range []struct {
		title string
		play  func(context.Context) error
	}{
		{fmt.Sprintf("%d members share the shards.", s.options.members), s.playShare},
		{"Another joins: few shards move, each let go before it is granted again.", s.playJoin},
		{"One leaves: the others get its shards.", s.playLeave},
		{"One is cut off: its shards move when it cannot have them any more.", s.playCut},
	} {
		s.view.Begin("%d/4  %s", i+1, a.title)
		if err := a.play(ctx); err != nil {
			return err
		}
	}
	return nil
}

// playShare begins with the first members.
func (s *stage) playShare(ctx context.Context) error {
	for range s.options.members {
		if err := s.join(ctx); err != nil {
			return err
		}
	}
	if err := s.settle(ctx, s.alive()); err != nil {
		return err
	}
	s.view.Tell(lipgloss.Style{}, "%s", loadsOf(s.owners()))
	some := allSeries()[0]
	shard := some.shard(s.options.labels)
	s.view.Tell(lipgloss.Style{}, "whatever their other labels, all series of %s are in shard %d: they stay together, at %s now",
		some.chosen(s.options.labels), shard, s.owners()[shard])
	return nil
}

// playJoin has one member more.
func (s *stage) playJoin(ctx context.Context) error {
	return s.change(ctx, fmt.Sprintf("m%d", len(s.members)+1), "joins", func() ([]string, error) {
		err := s.join(ctx)
		return s.alive(), err
	})
}

// playLeave has the first member leave.
func (s *stage) playLeave(ctx context.Context) error {
	return s.change(ctx, gone, "leaves", func() ([]string, error) {
		err := s.leave(gone)
		return s.alive(), err
	})
}

// playCut cuts a member off from etcd, and lets it come back.
func (s *stage) playCut(ctx context.Context) error {
	err := s.change(ctx, cutOff, "is cut off from etcd", func() ([]string, error) {
		s.proxy.Blackhole()
		return s.alive(cutOff), nil
	})
	if err != nil {
		return err
	}
	return s.change(ctx, cutOff, "can reach etcd again", func() ([]string, error) {
		s.proxy.Heal()
		return s.alive(), nil
	})
}

// change has something happen to a member, waits until the shards are with the members
// that do returns, and tells how those got there that went to it, or came from it if it
// is not among them.
func (s *stage) change(ctx context.Context, name, what string, do func() ([]string, error)) error {
	began, before := time.Now(), s.owners()
	s.view.Tell(s.view.Styles.Title, "%s %s", name, what)
	members, err := do()
	if err != nil {
		return err
	}
	if err := s.settle(ctx, members); err != nil {
		return err
	}
	after := s.owners()
	s.view.Tell(lipgloss.Style{}, "%s later %.0f of %d shards have another owner",
		screen.Short(time.Since(began)), moved(before, after)*shards, shards)
	s.view.Tell(lipgloss.Style{}, "%s", loadsOf(after))
	all, err := s.ledger.since(began)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(h handOver) bool {
		if slices.Contains(members, name) {
			return h.to.owner != name
		}
		return h.from.owner != name
	})
	if len(all) == 0 {
		return fmt.Errorf("no shard has come from %s, or gone to it", name)
	}
	h := slices.MinFunc(all, func(a, b handOver) int { return cmp.Compare(a.gap, b.gap) })
	s.view.Tell(s.view.Styles.Good, "the quickest: shard %d, let go by %s with token %s, granted to %s with token %s, %s later",
		h.shard, h.from.owner, h.from.hold.Token(), h.to.owner, h.to.hold.Token(), screen.Short(h.gap))
	return nil
}

// loadsOf says who has how many.
func loadsOf(owner []string) string {
	counts := loads(owner, nil)
	var parts []string
	for _, n := range slices.SortedFunc(maps.Keys(counts), inOrder) {
		parts = append(parts, fmt.Sprintf("%s %d", n, counts[n]))
	}
	return strings.Join(parts, ", ")
}

// inOrder has m10 after m9.
func inOrder(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

// sumUp compares the ways to share out the series.
func (s *stage) sumUp() error {
	if _, err := s.ledger.since(time.Time{}); err != nil {
		return err
	}
	all, chosen := allSeries(), s.options.labels
	few := make([]string, s.options.members)
	for i := range few {
		few[i] = fmt.Sprintf("m%d", i+1)
	}
	more := append(slices.Clone(few), fmt.Sprintf("m%d", len(few)+1))
	ring := func(of []string) []string { return byRing(all, chosen, of, s.options.load) }
	modulo := func(of []string) []string { return byModulo(all, chosen, of) }
	const row = "%-36s%14s%12s%11s\n"
	s.view.Printf("\n"+row, fmt.Sprintf("%d series by %s", len(all), strings.Join(chosen, ", ")), "bounded loads", "modulo", "at least")
	s.view.Printf(row, fmt.Sprintf("furthest from the mean, %d members", len(few)), percent(deviation(ring(few), few)), percent(deviation(modulo(few), few)), "0 %")
	least := percent(1 / float64(len(more)))
	s.view.Printf(row, "change hands when one joins", percent(moved(ring(few), ring(more))), percent(moved(modulo(few), modulo(more))), least)
	s.view.Printf(row, "change hands when one leaves", percent(moved(ring(more), ring(more[1:]))), percent(moved(modulo(more), modulo(more[1:]))), least)
	s.view.Printf("\n%s\n", s.view.Styles.Good.Render(s.view.Wrap(fmt.Sprintf("%d times a shard was granted: never to two at a time, and tokens only rose", s.ledger.grants()))))
	return nil
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }
