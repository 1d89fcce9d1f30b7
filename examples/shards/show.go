package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/shard"
)

const (
	leaver, victim, cutOff  = "m1", "m2", "m3"
	fewMembers, manyMembers = 3, 12 // processes
)

// show has members come and go, and looks at what they log and at who owns what in etcd.
type show struct {
	*theatre.Stage

	members, shards int
	alive           []string // who should have shards
	started         int
	router          *shard.Router
	killed          time.Time
	tenures         map[shard.ID][]*tenure
}

// tenure is the time for which a member owned a shard, as it has logged: to the deadline if
// the shard was lost before the member stopped. While it lasts, to is zero.
type tenure struct {
	owner    string
	token    lock.Token
	from, to time.Time
}

func (s *show) flags(fs *flag.FlagSet) (check func() error) {
	fs.IntVar(&s.members, "members", 5, "`number` of members to begin with")
	fs.IntVar(&s.shards, "shards", shard.DefaultShards, "`number` of shards")
	return func() error {
		switch {
		case s.members < fewMembers || s.members > manyMembers:
			return fmt.Errorf("-members %d: must be %d to %d", s.members, fewMembers, manyMembers)
		case s.shards <= manyMembers || s.shards > shard.MaxShards:
			return fmt.Errorf("-shards %d: must be %d to %d", s.shards, manyMembers+1, shard.MaxShards)
		}
		return nil
	}
}

func (s *show) acts(ctx context.Context, stage *theatre.Stage) {
	s.Stage, stage.Hear, s.tenures = stage, s.hear, make(map[shard.ID][]*tenure)
	s.Act("1/5  %d members share the shards.", s.members)
	for range s.members {
		s.join()
	}
	s.open(ctx)
	s.Act("2/5  Another joins: as few shards as possible move, each handed over.")
	newcomer := fmt.Sprintf("m%d", s.members+1)
	s.change(ctx, newcomer, "joins", s.shards/(s.members+1), s.join)
	s.Act("3/5  One leaves: the others get its shards, one hand-over each.")
	s.change(ctx, leaver, "is told to end (SIGTERM)", s.has(leaver), func() {
		s.without(leaver)
		s.Do(s.Copy(leaver).Terminate)
	})
	s.Act("4/5  One is killed: its shards move when its lease has expired.")
	s.change(ctx, victim, "is killed (SIGKILL)", s.has(victim), func() {
		s.without(victim)
		s.Do(s.Copy(victim).Kill)
		s.killed = time.Now()
	})
	s.Act("5/5  One is cut off: its shards move when it cannot have them any more.")
	s.change(ctx, cutOff, "is cut off from etcd", s.has(cutOff), func() {
		s.without(cutOff)
		s.Do(s.Copy(cutOff).Cut)
	})
	s.change(ctx, cutOff, "can reach etcd again", s.shards/(len(s.alive)+1), func() {
		s.alive = append(s.alive, cutOff)
		s.Do(s.Copy(cutOff).Heal)
	})
	all, counts := s.History(ctx, "count/"), 0
	s.Do(func() (err error) { counts, err = checkCounts(all); return err })
	owned := 0
	for _, t := range s.tenures {
		owned += len(t)
	}
	s.Conclude("%d shard grants: never two owners at a time, and tokens only rose. None of %d counts was lost.", owned, counts)
}

// join starts one more member.
func (s *show) join() {
	s.started++
	name := fmt.Sprintf("m%d", s.started)
	args := []string{"-name", name, "-address", fmt.Sprintf("10.0.0.%d", s.started), "-shards", strconv.Itoa(s.shards)}
	s.StartBehind(s.Start, name, args...)
	s.alive = append(s.alive, name)
}

// without removes a member from those that should have shards.
func (s *show) without(name string) {
	s.alive = slices.DeleteFunc(s.alive, func(n string) bool { return n == name })
}

// open starts watching the group as the members' callers would.
func (s *show) open(ctx context.Context) {
	s.Do(func() (err error) {
		within, cancel := context.WithTimeout(ctx, s.Patience)
		defer cancel()
		if s.router, err = shard.NewRouter(within, s.Client, "shards"); err == nil {
			s.Cleanup(func() error { return s.router.Close(context.WithoutCancel(ctx)) })
		}
		return err
	})
	s.settle(ctx)
	s.Do(func() error {
		s.Say(lipgloss.Style{}, "%s", s.loads())
		id := s.router.Of("tenant-42")
		route, _ := s.router.Owner(id)
		s.Say(lipgloss.Style{}, "everything about tenant-42 is in shard %d: at %s now, whose address is %s", id, route.Member, route.Value)
		return nil
	})
}

// hear takes note of who owns what.
func (s *show) hear(l theatre.Line) error {
	var a struct {
		Shard shard.ID
		Token lock.Token
		Until time.Time
	}
	ends := func(at time.Time, is func(id shard.ID, t *tenure) bool) {
		for id, all := range s.tenures {
			for _, t := range all {
				if t.owner == l.Copy && t.to.IsZero() && is(id, t) {
					t.to = at
				}
			}
		}
	}
	switch l.Msg {
	case "owns":
		if err := l.Read(&a); err != nil {
			return err
		}
		all := append(s.tenures[a.Shard], &tenure{owner: l.Copy, token: a.Token, from: l.Time})
		slices.SortFunc(all, func(a, b *tenure) int { return a.from.Compare(b.from) })
		s.tenures[a.Shard] = all
	case "stopped":
		if err := l.Read(&a); err != nil {
			return err
		}
		if l.Time.Before(a.Until) {
			a.Until = l.Time
		}
		ends(a.Until, func(id shard.ID, t *tenure) bool { return id == a.Shard && t.token == a.Token })
	case theatre.Ended: // it was killed: what ended in good order has no shards any more
		ends(s.killed, func(shard.ID, *tenure) bool { return true })
	}
	return nil
}

// change does something to a member, waits until the shards are where they should be, and prints
// how those moved that went to it, or came from it if it should have none.
func (s *show) change(ctx context.Context, name, what string, fewest int, do func()) {
	began, before := time.Now(), s.owners()
	s.Say(s.Styles.Title, "%s %s", name, what)
	do()
	s.settle(ctx)
	s.Do(func() error {
		moved := 0
		for id, owner := range s.owners() {
			if owner != before[id] {
				moved++
			}
		}
		s.Say(lipgloss.Style{}, "%s later %d of %d shards have another owner; at least %d had to move",
			screen.Short(time.Since(began)), moved, s.shards, fewest)
		s.Say(lipgloss.Style{}, "%s", s.loads())
		all, err := handOvers(s.tenures, began)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(h handOver) bool {
			if slices.Contains(s.alive, name) {
				return h.to.owner != name
			}
			return h.from.owner != name
		})
		if len(all) == 0 {
			return fmt.Errorf("no shard has come from %s, or gone to it", name)
		}
		slices.SortFunc(all, func(a, b handOver) int { return cmp.Compare(a.gap(), b.gap()) })
		h, longest := all[len(all)/2], all[len(all)-1]
		s.Say(s.Styles.Good, "the median: shard %d went from %s, token %s, to %s, token %s, without an owner for %s; the longest %s",
			h.shard, h.from.owner, h.from.token, h.to.owner, h.to.token, screen.Short(h.gap()), screen.Short(longest.gap()))
		return nil
	})
}

// settle waits until each member has its share and nobody else has any, and until the
// members have logged what etcd says.
func (s *show) settle(ctx context.Context) {
	s.Until(ctx, "the shards settling", func() bool {
		has := make(map[string]int)
		for id := range shard.ID(s.shards) {
			route, owned := s.router.Owner(id)
			all := s.tenures[id]
			lasting := slices.IndexFunc(all, func(t *tenure) bool { return t.to.IsZero() })
			if !owned || lasting < 0 || lasting != len(all)-1 || all[lasting].token != route.Token {
				return false
			}
			has[route.Member]++
		}
		return len(has) == len(s.alive) && !slices.ContainsFunc(s.alive, func(name string) bool {
			return has[name] != s.shards/len(s.alive) && has[name] != (s.shards-1)/len(s.alive)+1
		})
	})
}

// owners returns who owns each shard.
func (s *show) owners() []string {
	found := make([]string, s.shards)
	s.Do(func() error {
		for id := range found {
			route, _ := s.router.Owner(shard.ID(id))
			found[id] = route.Member
		}
		return nil
	})
	return found
}

// has counts the shards of a member.
func (s *show) has(name string) (n int) {
	for _, owner := range s.owners() {
		if owner == name {
			n++
		}
	}
	return n
}

// loads returns how many shards each member has.
func (s *show) loads() string {
	var parts []string
	for _, name := range slices.SortedFunc(slices.Values(s.alive), inOrder) {
		parts = append(parts, fmt.Sprintf("%s=%d", name, s.has(name)))
	}
	return strings.Join(parts, ", ")
}

// inOrder sorts m10 after m9.
func inOrder(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

// handOver is the move of a shard from one owner to the next.
type handOver struct {
	shard    shard.ID
	from, to *tenure
}

// gap is how long nobody owned it.
func (h handOver) gap() time.Duration { return h.to.from.Sub(h.from.to) }

// handOvers returns the shards that have changed hands after a time. It fails if one ever
// had two owners at a time, or a token that was not higher than the one before.
func handOvers(tenures map[shard.ID][]*tenure, began time.Time) (all []handOver, err error) {
	for _, id := range slices.Sorted(maps.Keys(tenures)) {
		of := tenures[id]
		for i := 1; i < len(of); i++ {
			h := handOver{id, of[i-1], of[i]}
			if h.from.to.IsZero() || h.gap() < 0 || h.to.token <= h.from.token {
				return nil, fmt.Errorf("shard %d: %s had it with token %s until %s, and %s from %s with token %s",
					id, h.from.owner, h.from.token, h.from.to, h.to.owner, h.to.from, h.to.token)
			}
			if h.to.from.After(began) && h.from.owner != h.to.owner {
				all = append(all, h)
			}
		}
	}
	return all, nil
}

// checkCounts looks at every count that was written: each is one more than the last.
func checkCounts(all []*clientv3.Event) (counts int, err error) {
	last := make(map[string]int)
	for _, e := range all {
		key := string(e.Kv.Key)
		last[key]++
		if n, err := strconv.Atoi(string(e.Kv.Value)); err != nil || n != last[key] {
			return 0, fmt.Errorf("%s is %s at count %d", key, e.Kv.Value, last[key])
		}
	}
	if len(all) == 0 {
		return 0, errors.New("nothing was counted")
	}
	return len(all), nil
}
