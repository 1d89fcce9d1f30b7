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
		{"Another joins: as few shards move as can be, each handed over.", s.playJoin},
		{"One leaves: the others get its shards, one hand-over each.", s.playLeave},
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
	const key = "tenant-42"
	id := s.router.Of(key)
	route, _ := s.router.Owner(id)
	s.view.Tell(lipgloss.Style{}, "all that is about %s is in shard %d: at %s now, whose address is %s", key, id, route.Member, route.Value)
	return nil
}

// playJoin has one member more.
func (s *stage) playJoin(ctx context.Context) error {
	fewest := s.options.shards / (len(s.members) + 1)
	return s.change(ctx, fmt.Sprintf("m%d", len(s.members)+1), "joins", fewest, func() ([]string, error) {
		err := s.join(ctx)
		return s.alive(), err
	})
}

// playLeave has the first member leave.
func (s *stage) playLeave(ctx context.Context) error {
	return s.change(ctx, gone, "leaves", loads(s.owners())[gone], func() ([]string, error) {
		err := s.leave(gone)
		return s.alive(), err
	})
}

// playCut cuts a member off from etcd, and lets it come back.
func (s *stage) playCut(ctx context.Context) error {
	err := s.change(ctx, cutOff, "is cut off from etcd", loads(s.owners())[cutOff], func() ([]string, error) {
		s.proxy.Blackhole()
		return s.alive(cutOff), nil
	})
	if err != nil {
		return err
	}
	return s.change(ctx, cutOff, "can reach etcd again", s.options.shards/len(s.members), func() ([]string, error) {
		s.proxy.Heal()
		return s.alive(), nil
	})
}

// change has something happen to a member, waits until the shards are with the members
// that do returns, and tells how those got there that went to it, or came from it if it
// is not among them.
func (s *stage) change(ctx context.Context, name, what string, fewest int, do func() ([]string, error)) error {
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
	n := moved(before, after)
	s.view.Tell(lipgloss.Style{}, "%s later %d of %d shards have another owner; it takes %d at least", screen.Short(time.Since(began)), n, s.options.shards, fewest)
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
	slices.SortFunc(all, func(a, b handOver) int { return cmp.Compare(a.gap, b.gap) })
	h := all[len(all)/2]
	s.view.Tell(s.view.Styles.Good, "the median: shard %d, let go by %s with token %s, granted to %s with token %s, %s later",
		h.shard, h.from.owner, h.from.o.Token(), h.to.owner, h.to.o.Token(), screen.Short(h.gap))
	return nil
}

// moved counts the shards that have changed hands.
func moved(before, after []string) (n int) {
	for i := range before {
		if before[i] != after[i] {
			n++
		}
	}
	return n
}

// loadsOf says who has how many.
func loadsOf(owners []string) string {
	has := loads(owners)
	var parts []string
	for _, n := range slices.SortedFunc(maps.Keys(has), inOrder) {
		parts = append(parts, fmt.Sprintf("%s %d", n, has[n]))
	}
	return strings.Join(parts, ", ")
}

// inOrder has m10 after m9.
func inOrder(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

// sumUp says that all was well.
func (s *stage) sumUp() error {
	if _, err := s.ledger.since(time.Time{}); err != nil {
		return err
	}
	s.view.Printf("\n%s\n", s.view.Styles.Good.Render(s.view.Wrap(fmt.Sprintf("%d times a shard was granted: never to two at a time, and tokens only rose",
		s.ledger.grants()))))
	return nil
}
