package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
)

// show does things to copies of the program, which stay from act to act.
type show struct {
	*theatre.Stage

	candidates int
	began      bool
	granted    bool              // the last wish
	observed   atomic.Value      // whom observers see, for the board
	seen       map[string]string // the same, by copy
}

func (v *show) play() *theatre.Play {
	v.seen = make(map[string]string)
	scenes := []theatre.Scene{
		{Name: "crash", Key: "c", Intro: "The leader is killed: its lease has to expire before the next is elected.", Play: v.scene(v.crash)},
		{Name: "pause", Key: "p", Intro: "The leader is paused past its TTL: what it writes on waking is refused.", Play: v.scene(v.pause)},
		{Name: "partition", Key: "x", Intro: "The leader is cut off: it learns of the loss before the next is elected.", Play: v.scene(v.partition)},
		{Name: "transfer", Key: "t", Intro: "The leader gives its term to the last in the queue.", Play: v.scene(v.transfer)},
		{Name: "resign", Key: "r", Intro: "The leader resigns: the next is elected at once.", Play: v.scene(v.resign)},
	}
	if !process.CanPause {
		scenes = slices.DeleteFunc(scenes, func(s theatre.Scene) bool { return s.Name == "pause" })
	}
	return &theatre.Play{
		Name: "failover", Title: "Leaders that fail",
		About: `Processes stand for election; faults befall the leader, and you watch. On a terminal
it goes on until you press q, and keys play the acts again, unless you name -acts.
With -endpoints, or ETCDCTL_ENDPOINTS, this is one candidate on your own etcd.`,
		Program: failoverMain, Flags: v.flags, Owner: theatre.Leader("failover"), Verb: "leads", Scenes: scenes,
		Board: &theatre.Board{Queue: "failover/", Ordered: true, Below: v.below},
	}
}

func (v *show) flags(fs *flag.FlagSet) (check func() error) {
	fs.IntVar(&v.candidates, "candidates", 4, "`number` of processes")
	return func() error {
		if v.candidates < 2 || v.candidates > 8 {
			return fmt.Errorf("-candidates %d: must be 2 to 8", v.candidates)
		}
		return nil
	}
}

// scene is an act that is played when one leads and all others wait, and ends like that.
func (v *show) scene(act func(context.Context)) func(context.Context, *theatre.Stage) {
	return func(ctx context.Context, s *theatre.Stage) {
		v.Stage, s.Hear = s, v.hear
		if !v.began {
			for i := range v.candidates {
				v.start(fmt.Sprintf("c%d", i+1))
			}
			v.sayOrder(ctx)
			v.began = true
		}
		v.settle(ctx)
		v.Linger(ctx)
		act(ctx)
		v.sayOrder(ctx)
		v.CheckHistory(ctx, "failover/work", theatre.ParseToken)
	}
}

func (v *show) start(name string) {
	v.StartBehind(v.Start, name, "-name", name, "-listen", "127.0.0.1:0")
}

// hear records whom a copy sees leading.
func (v *show) hear(l theatre.Line) error {
	var a struct{ Leader string }
	if l.Msg != "observed" {
		return nil
	}
	err := l.Read(&a)
	v.seen[l.Copy] = a.Leader
	v.observed.Store(a.Leader)
	return err
}

// settle waits until one leads and all others wait and know the leader, and returns them.
func (v *show) settle(ctx context.Context) (leader theatre.Office, others []string) {
	v.Until(ctx, "a leader with all others waiting", func() bool {
		line := v.Queue()
		if len(line) != v.candidates || slices.ContainsFunc(line, func(name string) bool { return v.seen[name] != line[0] }) {
			return false
		}
		others = line[1:]
		return true
	})
	return v.InOffice(ctx, ""), others
}

// sayOrder says who leads and who waits, once that is settled.
func (v *show) sayOrder(ctx context.Context) {
	leader, others := v.settle(ctx)
	v.Say(lipgloss.Style{}, "%s leads, term %s, as all see; waiting, in this order: %s", leader.Copy, leader.Token, strings.Join(others, ", "))
}

// crash kills the leader, and starts it again later.
func (v *show) crash(ctx context.Context) {
	gone, _ := v.Kill(ctx)
	v.Linger(ctx)
	v.Dismiss(ctx, gone.Copy)
	delete(v.seen, gone.Copy)
	v.start(gone.Copy)
	v.Say(v.Styles.Title, "%s is started again, in a new process", gone.Copy)
}

// pause pauses the leader past its TTL.
func (v *show) pause(ctx context.Context) {
	v.PauseWriter(ctx, election.ErrLost, func() { v.settle(ctx) })
}

// partition cuts the leader off from etcd.
func (v *show) partition(ctx context.Context) {
	gone, next, _ := v.Cut(ctx)
	v.Linger(ctx)
	v.CheckHistory(ctx, "failover/work", theatre.ParseToken)
	v.Say(v.Styles.Good, "etcd has nothing from %s after term %s", gone.Copy, next.Token)
}

// transfer asks the leader to give its term to the last in the queue.
func (v *show) transfer(ctx context.Context) {
	leader, line := v.settle(ctx)
	if v.Failed != nil {
		return
	}
	to := line[len(line)-1]
	what := fmt.Sprintf("gives its term to %s, past %d others", to, len(line)-1)
	next := v.Succeed(ctx, leader, what, time.Second, v.asked(ctx, leader, to))
	v.Do(func() error {
		if next.Copy != to && v.granted {
			return fmt.Errorf("the term was given to %s, and %s leads", to, next.Copy)
		}
		return nil
	})
}

// resign asks the leader to resign.
func (v *show) resign(ctx context.Context) {
	leader, _ := v.settle(ctx)
	v.Succeed(ctx, leader, "resigns", time.Second, v.asked(ctx, leader, ""))
}

// asked returns a function that asks a leader until it resigns. On a busy machine the candidate
// may have lost its place for a moment, or the leader its term.
func (v *show) asked(ctx context.Context, leader theatre.Office, to string) func() error {
	return func() error {
		v.Until(ctx, "the resignation of "+leader.Copy, func() bool {
			answer, err := ask(ctx, leader.Address, to)
			v.Do(func() error { return err })
			v.granted = answer == ""
			return v.granted || answer == "it does not lead" && v.Heard(leader.Copy, "stopped").After(v.Heard(leader.Copy, "leading"))
		})
		return nil
	}
}

// ask asks a leader to resign in favour of a candidate, or of the next. It says why not.
func ask(ctx context.Context, address, to string) (answer string, err error) {
	resign := "http://" + address + "/resign?" + url.Values{"to": {to}}.Encode()
	_, answer, err = theatre.Request(ctx, http.MethodPost, resign, http.NoBody)
	return answer, err
}

// below returns what observers see.
func (v *show) below(styles screen.Styles, _ int, _ []theatre.Handover) []string {
	seen, _ := v.observed.Load().(string)
	if seen == "" {
		seen = "nobody"
	}
	return []string{"", styles.Dim.Render("  observers see: " + seen + " leads")}
}
