package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/redistest"
)

const (
	enough    = 20                     // hand-overs tell how long they take
	several   = 3                      // invoices of others, before the late one
	tries     = 5                      // to show two holders: on a busy machine one may be told before the other asks
	aftermath = 300 * time.Millisecond // how long an act goes on after its event
	quick     = "10ms"                 // of work for an invoice
	nowhere   = "127.0.0.1:"           // and the number of a server: nothing listens there
)

// show does things to copies of the program and to servers, and looks at what the copies
// log and at the invoices.
type show struct {
	theatre.Script

	ttl     time.Duration
	servers int
	verbose bool
	dir     string
	end     context.CancelCauseFunc
	nodes   []*node

	// Of the act that is played:
	act     act
	lock    string
	file    string
	copies  map[string]*process.Process
	tenures []tenure
	last    map[string]theatre.Line // by copy and message
	wrote   map[string]int          // invoices, by copy

	mu      sync.Mutex
	unheard []theatre.Line
}

// node is a server.
type node struct {
	*redistest.Node

	number int
	since  time.Time // when it was started
}

// act is one thing to show.
type act struct {
	name, intro string
	breaks      bool // as documented
	play        func(ctx context.Context)
}

func (s *show) acts() []act {
	all := []act{
		{"hand-over", "Three processes hand a lock to each other.", false, func(ctx context.Context) { s.handAround(ctx, 5*enough) }},
		{"kill", "Servers are killed: the lock works as long as a majority lives.", false, func(ctx context.Context) {
			s.outage(ctx, "is killed", "are started again", (*redistest.Node).Crash, func(n *redistest.Node) error { return n.Revive(ctx) })
		}},
		{"hang", "Servers hang: that costs time when their vote is needed.", false, func(ctx context.Context) {
			s.outage(ctx, "hangs (SIGSTOP)", "go on", (*redistest.Node).Suspend, (*redistest.Node).Resume)
		}},
		{"restart", "A server comes back without its keys, and votes at once.", true, func(ctx context.Context) { s.restart(ctx) }},
		{"min-uptime", "The same, but a server that has just started has no vote (WithMinUptime).", false, func(ctx context.Context) {
			s.restart(ctx, "-min-uptime", s.ttl.String())
		}},
		{"jump", "Clocks of a majority jump: keys that the holder relies on expire.", true, s.jump},
		{"pause", "The holder is paused between checking its Hold and writing.", true, s.pause},
	}
	if !process.CanPause {
		all = slices.DeleteFunc(all, func(a act) bool { return a.name == "hang" || a.name == "pause" })
	}
	return all
}

// perform plays acts, each with copies, a lock and a file of its own, and sums up.
func (s *show) perform(ctx context.Context, acts []act) error {
	table, wrong := "", []error(nil)
	for i, a := range acts {
		s.act, s.lock, s.file = a, a.name, filepath.Join(s.dir, a.name)
		s.tenures, s.last, s.wrote = nil, make(map[string]theatre.Line), make(map[string]int)
		s.Act("%d/%d  %s", i+1, len(acts), a.intro)
		s.Do(func() error { a.play(ctx); return nil })
		s.quit()
		s.Do(func() error {
			text, err := os.ReadFile(s.file)
			v := judge(a.breaks, s.tenures, string(text))
			style := s.Styles.Good
			if v.broken() {
				style = s.Styles.Bad
			}
			s.Tell(style, "%s", v)
			table += fmt.Sprintf("%-12s%s\n", a.name, style.Render(v.word()))
			if v.broken() != v.expected {
				wrong = append(wrong, fmt.Errorf("%s: %s", a.name, v))
			}
			return err
		})
	}
	s.Printf("\n%s", table)
	return errors.Join(append(wrong, s.Failed)...)
}

// start starts a copy of the program, which is not to end by itself.
func (s *show) start(name string, args ...string) {
	s.Do(func() error {
		var nodes []string
		for _, n := range s.nodes {
			nodes = append(nodes, n.Addr())
		}
		args = append([]string{"-nodes", strings.Join(nodes, ","), "-lock", s.lock, "-file", s.file, "-ttl", s.ttl.String()}, args...)
		p, err := process.Start(name, copyRole, args, func(text json.RawMessage) {
			if l := (theatre.Line{Copy: name, Text: text}); l.Read(&l) == nil {
				s.add(l)
			}
		}, func(detail string) {
			if detail != "" {
				s.end(errors.New(detail))
			}
		})
		if err == nil {
			s.copies[name] = p
		}
		return err
	})
}

// quit stops copies in good order: those that are named, or all.
func (s *show) quit(names ...string) {
	var all []*process.Process
	for name := range maps.Clone(s.copies) {
		if len(names) == 0 || slices.Contains(names, name) {
			all = append(all, s.copies[name])
			delete(s.copies, name)
		}
	}
	err := process.QuitAll(all...)
	s.Do(func() error { return err })
	s.hear()
}

func (s *show) add(l theatre.Line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unheard = append(s.unheard, l)
}

// hear records what copies have logged.
func (s *show) hear() {
	s.mu.Lock()
	lines := s.unheard
	s.unheard = nil
	s.mu.Unlock()
	for _, l := range lines {
		var a struct{ Until time.Time }
		s.Do(func() error { return l.Read(&a) })
		if s.last[l.Copy+" "+l.Msg] = l; s.verbose {
			s.TellAt(l.Time, lipgloss.Style{}, "%s: %s", l.Copy, l)
		}
		switch l.Msg {
		case "holds":
			s.tenures = append(s.tenures, tenure{copy: l.Copy, from: l.Time})
		case "stopped":
			i := slices.IndexFunc(s.tenures, func(t tenure) bool { return t.copy == l.Copy && t.until.IsZero() })
			s.tenures[i].until = earlier(l.Time, a.Until)
		case "wrote":
			s.wrote[l.Copy]++
		}
	}
}

// until waits until a condition holds, and hears what the copies log meanwhile.
func (s *show) until(ctx context.Context, what string, cond func() bool) {
	s.Until(ctx, what, func() bool { s.hear(); return cond() })
}

// watch waits for a while.
func (s *show) watch(ctx context.Context) {
	began := time.Now()
	s.until(ctx, "the end of the act", func() bool { return time.Since(began) > aftermath })
}

// heard returns when a copy has last logged a message.
func (s *show) heard(name, message string) time.Time { return s.last[name+" "+message].Time }

// granted waits until another copy than the one named has had the lock since a time.
func (s *show) granted(ctx context.Context, except string, since time.Time) (t tenure) {
	s.until(ctx, "a holder of the lock", func() bool {
		i := slices.IndexFunc(s.tenures, func(t tenure) bool { return t.copy != except && t.from.After(since) })
		if i >= 0 {
			t = s.tenures[i]
		}
		return i >= 0
	})
	return t
}

// handOver waits until the lock has changed hands some times, and prints how long that took.
func (s *show) handOver(ctx context.Context, times int, where string) {
	began, took := time.Now(), []time.Duration(nil)
	s.until(ctx, "hand-overs", func() bool { took = handOvers(s.tenures, began); return len(took) >= times })
	slices.Sort(took)
	s.Say(lipgloss.Style{}, "%s: %d hand-overs, p50 %s, max %s", where, len(took),
		screen.Millis(screen.Percentile(took, 50)), screen.Millis(screen.Percentile(took, 100)))
}

// handAround has the lock change hands some times while nothing goes wrong.
func (s *show) handAround(ctx context.Context, times int) {
	for _, name := range []string{"w1", "w2", "w3"} {
		s.start(name, "-work", quick)
	}
	s.handOver(ctx, times, fmt.Sprintf("%d of %d servers up", s.servers, s.servers))
}

// outage has servers fail one after another while the lock is handed around, and the last of
// a majority while one has the lock.
func (s *show) outage(ctx context.Context, did, undid string, fail, mend func(n *redistest.Node) error) {
	s.handAround(ctx, enough)
	quorum := s.servers/2 + 1
	for i := s.servers - 1; i >= quorum; i-- {
		s.Do(func() error { return fail(s.nodes[i].Node) })
		s.Say(s.Styles.Title, "server %d %s", s.nodes[i].number, did)
		s.handOver(ctx, enough, fmt.Sprintf("%d of %d servers up", i, s.servers))
	}
	s.start("w4", "-work", "1h")
	s.until(ctx, "w4 with the lock", func() bool { return !s.heard("w4", "holds").IsZero() })
	failed := time.Now()
	s.Do(func() error { return fail(s.nodes[quorum-1].Node) })
	s.Say(s.Styles.Title, "server %d %s: no majority is left while w4 has the lock", s.nodes[quorum-1].number, did)
	s.until(ctx, "the end of w4's hold", func() bool { return !s.heard("w4", "not written").IsZero() })
	var a struct{ Error string }
	s.Do(func() error { return s.last["w4 not written"].Read(&a) })
	why, _, _ := strings.Cut(a.Error, "\n")
	s.Say(lipgloss.Style{}, "w4 is told at its deadline: %s", why)
	s.watch(ctx)
	mended := time.Now()
	s.Do(func() error {
		if i := slices.IndexFunc(s.tenures, func(t tenure) bool { return t.from.After(failed) }); i >= 0 {
			return fmt.Errorf("%s was granted the lock without a majority", s.tenures[i].copy)
		}
		s.Say(s.Styles.Title, "nobody was granted the lock meanwhile; the servers %s", undid)
		return nil
	})
	for _, n := range s.nodes[quorum-1:] {
		s.Do(func() error { return mend(n.Node) })
		n.since = time.Now()
	}
	next := s.granted(ctx, "", failed)
	s.Say(s.Styles.Good, "%s has the lock, %s later", next.copy, screen.Short(next.from.Sub(mended)))
}

// restart has a server come back without its keys: one of the bare majority on which the
// first has the lock, because it does not reach the others.
func (s *show) restart(ctx context.Context, args ...string) {
	s.breakUp(ctx, args, func(reached []*node) {
		n := reached[len(reached)-1]
		s.awaitRenewal(ctx, n)
		s.Do(func() error { return n.Revive(ctx) })
		n.since = time.Now()
		s.Say(s.Styles.Title, "server %d is restarted, without its keys", n.number)
	})
}

// jump has the clocks of a majority jump forward by a TTL.
func (s *show) jump(ctx context.Context) {
	s.breakUp(ctx, nil, func(reached []*node) {
		s.awaitRenewal(ctx, reached...)
		for _, n := range reached {
			s.Do(func() error { return n.Admin().PExpire(ctx, s.lock, -s.ttl).Err() })
		}
		s.Say(s.Styles.Title, "the clocks of %d of %d servers jump %s ahead, as far as the key can tell (PEXPIRE)",
			len(reached), s.servers, s.ttl)
	})
}

// awaitRenewal returns just after servers have renewed the key: a server that got the renewal
// later would have the key again.
func (s *show) awaitRenewal(ctx context.Context, nodes ...*node) {
	before, renewed := make(map[*node]time.Duration), make(map[*node]bool)
	s.until(ctx, "a renewal", func() bool {
		for _, n := range nodes {
			left, err := n.Admin().PTTL(ctx, s.lock).Result()
			s.Do(func() error { return err })
			renewed[n] = renewed[n] || before[n] > 0 && left > before[n]
			before[n] = left
		}
		return !slices.ContainsFunc(nodes, func(n *node) bool { return !renewed[n] })
	})
}

// breakUp has something happen to the servers on which the first has the lock, and then
// others ask for it. The first needs a TTL for its invoice. If the act should show two holders
// and did not, it is tried again.
func (s *show) breakUp(ctx context.Context, args []string, fault func(reached []*node)) {
	for try := range tries {
		if try > 0 {
			s.Say(s.Styles.Dim, "w1 was told first: once more")
		}
		eldest := slices.SortedStableFunc(slices.Values(s.nodes), func(a, b *node) int { return a.since.Compare(b.since) })
		reached, nodes, numbers := eldest[:s.servers/2+1], "", ""
		for _, n := range s.nodes {
			if slices.Contains(reached, n) {
				nodes, numbers = nodes+","+n.Addr(), fmt.Sprintf("%s, %d", numbers, n.number)
			} else {
				nodes += "," + nowhere + strconv.Itoa(n.number)
			}
		}
		s.start("w1", append(args, "-nodes", nodes[1:], "-work", s.ttl.String())...)
		first := s.granted(ctx, "", s.heard("w1", "stopped"))
		s.Say(lipgloss.Style{}, "%s has the lock, on servers %s: it reaches no others", first.copy, numbers[2:])
		fault(reached)
		began, before := time.Now(), s.wrote["w2"]+s.wrote["w3"]
		for _, name := range []string{"w2", "w3"} {
			s.start(name, append(args, "-work", quick)...)
		}
		next := s.granted(ctx, "w1", began)
		s.until(ctx, "the end of w1's hold, and invoices of the others", func() bool {
			return s.heard("w1", "stopped").After(began) && s.wrote["w2"]+s.wrote["w3"] >= before+several
		})
		granted := func() {
			s.TellAt(next.from, lipgloss.Style{}, "%s is granted the lock, %s later", next.copy, screen.Short(next.from.Sub(began)))
		}
		s.Do(func() error {
			at, what := s.heard("w1", "stopped"), "w1 is told that it has lost the lock"
			if wrote := s.heard("w1", "wrote"); wrote.After(began) {
				at, what = wrote, "w1 writes, as its Hold says that all is well"
			}
			if at.After(next.from) {
				granted()
				s.TellAt(at, s.Styles.Bad, "%s", what)
			} else {
				s.TellAt(at, lipgloss.Style{}, "%s", what)
				granted()
			}
			return nil
		})
		s.quit()
		if !s.act.breaks || together(s.tenures) > 0 {
			return
		}
	}
}

// pause stops the holder past its TTL, just after it has checked its Hold.
func (s *show) pause(ctx context.Context) {
	for try := range tries {
		if try > 0 {
			s.Say(s.Styles.Dim, "w1 had written before it was paused: once more")
		}
		began, before := time.Now(), s.wrote["w1"]
		s.start("w1", "-work", quick, "-latency", aftermath.String())
		s.until(ctx, "a write of w1", func() bool { return s.heard("w1", "writing").After(began) })
		paused := time.Now()
		s.Do(func() error { return s.copies["w1"].Pause(ctx) })
		s.Say(s.Styles.Title, "w1 is paused (SIGSTOP), just after its Hold said that all is well")
		others := s.wrote["w2"] + s.wrote["w3"]
		for _, name := range []string{"w2", "w3"} {
			s.start(name, "-work", quick)
		}
		s.until(ctx, "invoices of others", func() bool { return s.wrote["w2"]+s.wrote["w3"] >= others+several })
		next := s.granted(ctx, "w1", paused)
		s.Say(lipgloss.Style{}, "%s has had the lock, %s after the pause (TTL %s), and has written",
			next.copy, screen.Short(next.from.Sub(paused)), s.ttl)
		s.hear()
		late := s.wrote["w1"] == before
		s.Do(s.copies["w1"].Resume)
		s.Say(s.Styles.Title, "w1 goes on (SIGCONT)")
		s.until(ctx, "the end of w1's hold", func() bool { return s.heard("w1", "stopped").After(paused) })
		if late {
			s.Say(s.Styles.Bad, "it writes, and nothing stops it: there is no token to refuse it by")
		}
		s.quit()
		if late {
			return
		}
	}
}
