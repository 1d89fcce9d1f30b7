package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/tempdir"
)

const (
	enough  = 20           // hand-overs tell how long they take
	several = 3            // invoices of others, before the late one
	tries   = 5            // to show two holders: on a busy machine one may be told before the other asks
	quick   = "10ms"       // of work for an invoice
	slow    = "300ms"      // of latency of a write
	nowhere = "127.0.0.1:" // and the number of a server: nothing listens there
)

// show does things to copies of the program and to servers, and looks at what the copies
// log and at the invoices.
type show struct {
	*theatre.Stage

	servers int
	dir     string
	nodes   []*node

	// Of the act that is played:
	breaks     bool // as documented
	lock, file string
	tenures    []tenure
	wrote      map[string]int // invoices, by copy
}

// node is a server.
type node struct {
	*redistest.Node

	number int
	since  time.Time // when it was started
}

func (s *show) play() *theatre.Play {
	scenes := []theatre.Scene{
		s.scene("hand-over", "Three processes hand a lock to each other.", false, func(ctx context.Context) { s.handAround(ctx, 5*enough) }),
		s.scene("kill", "Servers are killed: the lock works as long as a majority lives.", false, func(ctx context.Context) {
			s.outage(ctx, "is killed", "are started again", (*redistest.Node).Crash, func(n *redistest.Node) error { return n.Revive(ctx) })
		}),
		s.scene("hang", "Servers hang: that costs time when their vote is needed.", false, func(ctx context.Context) {
			s.outage(ctx, "hangs (SIGSTOP)", "go on", (*redistest.Node).Suspend, (*redistest.Node).Resume)
		}),
		s.scene("restart", "A server comes back without its keys, and votes at once.", true, func(ctx context.Context) { s.restart(ctx) }),
		s.scene("min-uptime", "The same, but a server that has just started has no vote (WithMinUptime).", false, func(ctx context.Context) {
			s.restart(ctx, "-min-uptime", s.TTL.String())
		}),
		s.scene("jump", "Clocks of a majority jump: keys that the holder relies on expire.", true, s.jump),
		s.scene("pause", "The holder is paused between checking its Hold and writing.", true, s.pause),
	}
	canHang := process.CanPause && hasServer()
	scenes = slices.DeleteFunc(scenes, func(a theatre.Scene) bool {
		return a.Name == "hang" && !canHang || a.Name == "pause" && !process.CanPause
	})
	return &theatre.Play{
		Name: "redlock",
		About: `Processes hand a Redlock to each other while servers are killed, hang, forget and
have their clocks jump, and a holder is paused: you see where it holds, and where it
breaks. With -nodes, this is one copy of the program on your own servers.`,
		Program: redlockMain, Servers: s.startServers, Where: "-nodes", Flags: s.flags, Scenes: scenes, Columns: []string{"outcome"},
	}
}

func (s *show) flags(fs *flag.FlagSet) (check func() error) {
	fs.IntVar(&s.servers, "servers", 5, "`number` of servers, odd; 1 for the plain lock")
	return func() error {
		if s.servers < 1 || s.servers > 9 || s.servers%2 == 0 {
			return fmt.Errorf("-servers %d: must be an odd number, 1 to 9", s.servers)
		}
		return nil
	}
}

func hasServer() bool {
	_, err := exec.LookPath("redis-server")
	return err == nil
}

// startServers starts processes of redis-server, or servers in this process if there is no such
// program.
func (s *show) startServers(ctx context.Context) (started theatre.Servers, err error) {
	var cluster *redistest.Cluster
	if hasServer() {
		cluster, err = redistest.Start(ctx, s.servers)
		started.Text = fmt.Sprintf("%d processes of redis-server", s.servers)
	} else {
		cluster, err = redistest.StartEmbedded(s.servers)
		started.Text = fmt.Sprintf("%d servers of miniredis: there is no redis-server, so no act hang", s.servers)
	}
	if err != nil {
		return started, err
	}
	dir, err := tempdir.Make("redlock")
	if err != nil {
		return started, errors.Join(err, cluster.Close())
	}
	var addresses []string
	for i, n := range cluster.Nodes() {
		s.nodes = append(s.nodes, &node{n, i + 1, time.Now()})
		addresses = append(addresses, n.Addr())
	}
	s.dir, started.Addresses = dir.Path(), strings.Join(addresses, ",")
	started.Close = func() error { return errors.Join(cluster.Close(), dir.Remove()) }
	return started, nil
}

// scene is an act with copies, a lock and a file of its own, and a verdict.
func (s *show) scene(name, intro string, breaks bool, play func(ctx context.Context)) theatre.Scene {
	return theatre.Scene{Name: name, Intro: intro, Play: func(ctx context.Context, stage *theatre.Stage) {
		s.Stage, stage.Hear, s.breaks, s.lock, s.file = stage, s.hear, breaks, name, filepath.Join(s.dir, name)
		s.tenures, s.wrote = nil, make(map[string]int)
		play(ctx)
		s.Quit()
		s.Do(func() error {
			text, err := os.ReadFile(s.file)
			v, style := judge(breaks, s.tenures, string(text)), s.Styles.Good
			if v.broken() {
				style = s.Styles.Bad
			}
			s.Tell(style, "%s", v)
			s.Measured(style.Render(v.word()))
			if v.broken() != v.expected {
				err = errors.Join(err, fmt.Errorf("%s: %s", name, v))
			}
			return err
		})
	}}
}

// start starts a copy of the program, which is not to end by itself.
func (s *show) start(name string, args ...string) {
	s.Start(name, append([]string{"-lock", s.lock, "-file", s.file}, args...)...)
}

// hear records who has the lock, and what was written.
func (s *show) hear(l theatre.Line) error {
	var a struct{ Until time.Time }
	switch l.Msg {
	case "holds":
		s.tenures = append(s.tenures, tenure{copy: l.Copy, from: l.Time})
	case "stopped":
		if err := l.Read(&a); err != nil {
			return err
		}
		i := slices.IndexFunc(s.tenures, func(t tenure) bool { return t.copy == l.Copy && t.until.IsZero() })
		s.tenures[i].until = earlier(l.Time, a.Until)
	case "wrote":
		s.wrote[l.Copy]++
	}
	return nil
}

// granted waits until another copy than the one named has had the lock since a time.
func (s *show) granted(ctx context.Context, except string, since time.Time) (t tenure) {
	s.Until(ctx, "a holder of the lock", func() bool {
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
	s.Until(ctx, "hand-overs", func() bool { took = handOvers(s.tenures, began); return len(took) >= times })
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
	began := time.Now()
	s.handAround(ctx, enough)
	quorum := s.servers/2 + 1
	for i := s.servers - 1; i >= quorum; i-- {
		s.Do(func() error { return fail(s.nodes[i].Node) })
		s.Say(s.Styles.Title, "server %d %s", s.nodes[i].number, did)
		s.handOver(ctx, enough, fmt.Sprintf("%d of %d servers up", i, s.servers))
	}
	s.start("w4", "-work", "1h")
	s.Until(ctx, "w4 with the lock", func() bool { return s.Heard("w4", "holds").After(began) })
	failed := time.Now()
	s.Do(func() error { return fail(s.nodes[quorum-1].Node) })
	s.Say(s.Styles.Title, "server %d %s: no majority is left while w4 has the lock", s.nodes[quorum-1].number, did)
	s.Until(ctx, "the end of w4's hold", func() bool { return s.Heard("w4", "not written").After(failed) })
	why, _, _ := strings.Cut(s.Last("w4", "not written").Error, "\n")
	s.Say(lipgloss.Style{}, "w4 is told at its deadline: %s", why)
	s.Linger(ctx)
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
			s.Do(func() error { return n.Admin().PExpire(ctx, s.lock, -s.TTL).Err() })
		}
		s.Say(s.Styles.Title, "the clocks of %d of %d servers jump %s ahead, as far as the key can tell (PEXPIRE)",
			len(reached), s.servers, s.TTL)
	})
}

// awaitRenewal returns just after servers have renewed the key: a server that got the renewal
// later would have the key again.
func (s *show) awaitRenewal(ctx context.Context, nodes ...*node) {
	before, renewed := make(map[*node]time.Duration), make(map[*node]bool)
	s.Until(ctx, "a renewal", func() bool {
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
			s.Say(s.Styles.Dim, "w1 was told first, so this is tried again")
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
		s.start("w1", append(args, "-nodes", nodes[1:], "-work", s.TTL.String())...)
		first := s.granted(ctx, "", s.Heard("w1", "stopped"))
		s.Say(lipgloss.Style{}, "%s has the lock, on servers %s: it reaches no others", first.copy, numbers[2:])
		fault(reached)
		began, before := time.Now(), s.wrote["w2"]+s.wrote["w3"]
		for _, name := range []string{"w2", "w3"} {
			s.start(name, append(args, "-work", quick)...)
		}
		next := s.granted(ctx, "w1", began)
		s.Until(ctx, "the end of w1's hold, and invoices of the others", func() bool {
			return s.Heard("w1", "stopped").After(began) && s.wrote["w2"]+s.wrote["w3"] >= before+several
		})
		granted := func() {
			s.TellAt(next.from, lipgloss.Style{}, "%s is granted the lock, %s later", next.copy, screen.Short(next.from.Sub(began)))
		}
		s.Do(func() error {
			at, what := s.Heard("w1", "stopped"), "w1 is told that it has lost the lock"
			if wrote := s.Heard("w1", "wrote"); wrote.After(began) {
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
		s.Quit()
		if !s.breaks || together(s.tenures) > 0 {
			return
		}
	}
}

// pause stops the holder past its TTL, just after it has checked its Hold.
func (s *show) pause(ctx context.Context) {
	for try := range tries {
		if try > 0 {
			s.Say(s.Styles.Dim, "w1 had written before it was paused, so this is tried again")
		}
		began, before := time.Now(), s.wrote["w1"]
		s.start("w1", "-work", quick, "-latency", slow)
		s.Until(ctx, "a write of w1", func() bool { return s.Heard("w1", "writing").After(began) })
		paused := time.Now()
		s.Do(func() error { return s.Copy("w1").Pause(ctx) })
		s.Say(s.Styles.Title, "w1 is paused (SIGSTOP), just after its Hold said that all is well")
		others := s.wrote["w2"] + s.wrote["w3"]
		for _, name := range []string{"w2", "w3"} {
			s.start(name, "-work", quick)
		}
		s.Until(ctx, "invoices of others", func() bool { return s.wrote["w2"]+s.wrote["w3"] >= others+several })
		next := s.granted(ctx, "w1", paused)
		s.Say(lipgloss.Style{}, "%s has had the lock, %s after the pause (TTL %s), and has written",
			next.copy, screen.Short(next.from.Sub(paused)), s.TTL)
		late := s.wrote["w1"] == before
		s.Do(s.Copy("w1").Resume)
		s.Say(s.Styles.Title, "w1 goes on (SIGCONT)")
		s.Until(ctx, "the end of w1's hold", func() bool { return s.Heard("w1", "stopped").After(paused) })
		if late {
			s.Say(s.Styles.Bad, "it writes, and nothing stops it: there is no token to refuse it by")
		}
		s.Quit()
		if late {
			return
		}
	}
}
