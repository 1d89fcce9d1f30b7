package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lock"
)

const (
	// firstShown is how many hand-overs of an act are printed one by one.
	firstShown = 3
	// tries is how often etcd's own lock is cut off until there are two holders. About two
	// of five cuts do that.
	tries = 2
	// long is longer than an act lasts.
	long = time.Hour
)

// show does things to copies of the program.
type show struct {
	*theatre.Stage

	copies         int
	hold, duration time.Duration
	rivals         bool // are running
}

func (v *show) play() *theatre.Play {
	scenes := []theatre.Scene{
		{Name: "conclave", Intro: "Processes hand a lock to each other, and each adds one to a counter.", Play: v.scene(false, 0, v.handOver)},
		{Name: "official", Intro: "The same with etcd's own clientv3/concurrency, to compare.", Play: v.scene(true, 0, v.handOver)},
		{Name: "crash", Intro: "The holder is killed: the next takes over when its lease has expired.", Play: v.scene(false, long, v.crash)},
		{Name: "pause", Intro: "The holder is paused past its TTL: what it writes on waking is refused.", Play: v.scene(false, long, v.pause)},
		{Name: "partition", Intro: "The holder is cut off: it learns of the loss before the next gets the lock.", Play: v.scene(false, long, v.partition)},
		{Name: "official-partition", Intro: "The same with clientv3/concurrency, where luck decides: up to two tries.", Play: v.scene(true, long, v.partition)},
	}
	if !process.CanPause {
		scenes = slices.DeleteFunc(scenes, func(s theatre.Scene) bool { return s.Name == "pause" })
	}
	return &theatre.Play{
		Name: "handover", Title: "A lock handed from process to process",
		About: `Processes hand one lock to each other, and you watch: also when the holder is
killed, paused and cut off. With -endpoints, or ETCDCTL_ENDPOINTS, this is one of
them on your own etcd.`,
		Program: handoverMain, Rival: officialMain, Flags: v.flags, Owner: theatre.Holder("handover/lock"), Verb: "holds",
		Scenes: scenes, Columns: []string{"hand-overs", "p50", "p90", "p99", "max", "RPCs"},
		Board: &theatre.Board{Queue: "handover/", Below: below},
	}
}

func (v *show) flags(fs *flag.FlagSet) (check func() error) {
	fs.IntVar(&v.copies, "copies", 3, "`number` of processes")
	fs.DurationVar(&v.hold, "hold", 10*time.Millisecond, "how long each keeps the lock while nothing is wrong")
	fs.DurationVar(&v.duration, "duration", 3*time.Second, "how long they hand it to each other")
	return func() error {
		switch {
		case v.copies < 2 || v.copies > 12:
			return fmt.Errorf("-copies %d: must be 2 to 12", v.copies)
		case v.duration > time.Minute:
			return fmt.Errorf("-duration %s: must be at most %s", v.duration, time.Minute)
		}
		return nil
	}
}

// scene is an act with copies of its own, which leave at its end; rivals are of the other
// program.
func (v *show) scene(rivals bool, hold time.Duration, act func(context.Context)) func(context.Context, *theatre.Stage) {
	return func(ctx context.Context, s *theatre.Stage) {
		v.Stage, v.rivals = s, rivals
		if hold == 0 {
			hold = v.hold
		}
		v.enter(ctx, hold)
		act(ctx)
		all := v.History(ctx, "handover/count")
		v.Do(func() error { return checkCount(all) })
		v.Leave()
	}
}

// enter starts the copies, with a way to cut each off if they keep the lock for long, and
// waits until all have come.
func (v *show) enter(ctx context.Context, hold time.Duration) {
	for i := range v.copies {
		name := fmt.Sprintf("w%d", i+1)
		args := []string{"-name", name, "-hold", hold.String()}
		start := v.Start
		if v.rivals {
			start = v.StartRival
		}
		if hold < long {
			start(name, args...)
		} else {
			v.StartBehind(start, name, args...)
		}
	}
	for i := range v.copies {
		name := fmt.Sprintf("w%d", i+1)
		v.Until(ctx, "all copies", func() bool { return !v.Heard(name, "waiting").IsZero() })
	}
}

// handOver measures while nothing goes wrong.
func (v *show) handOver(ctx context.Context) {
	v.Until(ctx, "a hand-over", func() bool { return len(v.Handovers(time.Time{})) > 0 })
	began, asked := time.Now(), v.rpcs(ctx)
	told, next := 0, time.Now()
	v.Watch(ctx, v.duration, func() {
		if time.Now().Before(next) {
			return
		}
		next = time.Now().Add(50 * time.Millisecond)
		all := v.Handovers(time.Time{})
		for told < min(len(all), firstShown) {
			v.TellAt(all[told].To.Since, lipgloss.Style{}, "%s", describe(all[told]))
			told++
		}
		if told >= firstShown && len(all) > told {
			more, last := all[told:], all[len(all)-1]
			v.Say(lipgloss.Style{}, "... %d more, p50 %s; now %s holds %s", len(more), screen.Millis(percentile(more, 50)), last.To.Copy, last.To.Token)
			told, next = len(all), time.Now().Add(time.Second)
		}
	})
	v.Until(ctx, "a hand-over", func() bool { return len(v.Handovers(began)) > 0 }) // also on a busy machine
	rpcs, all := v.rpcs(ctx), v.Handovers(began)
	v.Say(v.Styles.Good, "%s", screen.Spread("hand-overs", took(all)))
	per := perTurn(rpcs, asked, len(all)+1)
	v.Say(lipgloss.Style{}, "RPCs per turn: %s; 2 of them are the work's", per)
	total, _, _ := strings.Cut(per, ":")
	v.Measured(fmt.Sprint(len(all)), screen.Millis(percentile(all, 50)), screen.Millis(percentile(all, 90)),
		screen.Millis(percentile(all, 99)), screen.Millis(percentile(all, 100)), total)
}

// toTheFault waits until one copy has the lock, for long, and all others wait for it.
func (v *show) toTheFault(ctx context.Context) {
	line := []string(nil)
	v.Until(ctx, "all others waiting", func() bool { line = v.Queue(); return len(line) == v.copies })
	o := v.InOffice(ctx, "")
	others := slices.DeleteFunc(line, func(name string) bool { return name == o.Copy })
	v.Say(v.Styles.Good, "%s holds, token %s; waiting: %s", o.Copy, o.Token, strings.Join(others, ", "))
	v.Linger(ctx)
}

// crash kills the holder.
func (v *show) crash(ctx context.Context) {
	v.toTheFault(ctx)
	v.Kill(ctx)
	v.Linger(ctx)
}

// pause pauses the holder past its TTL.
func (v *show) pause(ctx context.Context) {
	v.PauseWriter(ctx, lock.ErrLost, func() { v.toTheFault(ctx) })
}

// partition cuts the holder off from etcd, several times if luck decides the outcome.
func (v *show) partition(ctx context.Context) {
	for try := 1; v.Failed == nil; try++ {
		v.toTheFault(ctx)
		// Who is told when may depend on how far the renewals are when the cut comes.
		v.Watch(ctx, time.Duration(try)*v.TTL/8, func() {})
		gone, next, before := v.Cut(ctx)
		v.Until(ctx, "the return of "+gone.Copy, func() bool { return slices.Contains(v.Queue(), gone.Copy) })
		v.Say(lipgloss.Style{}, "%s is back in the queue", gone.Copy)
		late := v.History(ctx, "handover/count")
		v.Do(func() error { return checkCount(late) })
		v.Say(v.Styles.Good, "etcd has nothing from %s after token %s", gone.Copy, next.Token)
		if !v.rivals || before < 0 || try == tries {
			return
		}
	}
}

// below draws how long the latest hand-overs took.
func below(styles screen.Styles, width int, all []theatre.Handover) []string {
	if len(all) == 0 {
		return nil
	}
	return []string{"", "  " + screen.Spread("hand-overs", took(all)), "  " + screen.Bars(took(all), width-2, styles)}
}

// describe says who holds, since when, and who waits for whom.
func describe(h theatre.Handover) string {
	line := fmt.Sprintf("%s holds, token %s, %s after %s", h.To.Copy, h.To.Token, screen.Millis(h.Took), h.From.Copy)
	before := h.To.Copy
	var waits []string
	for _, name := range h.Waiting {
		waits = append(waits, name+" for "+before)
		before = name
	}
	if len(waits) > 0 {
		line += "; waiting: " + strings.Join(waits, ", ")
	}
	return line
}

func took(all []theatre.Handover) (took []time.Duration) {
	for _, h := range all {
		took = append(took, h.Took)
	}
	return took
}

func percentile(all []theatre.Handover, p float64) time.Duration {
	return screen.Percentile(slices.Sorted(slices.Values(took(all))), p)
}

// checkCount looks at all numbers that were ever written: each is one higher than the one
// before, and no token is lower.
func checkCount(all []*clientv3.Event) error {
	written := 0
	return theatre.CheckTokens(all, func(value []byte) (lock.Token, error) {
		number, token, _ := strings.Cut(string(value), " with token ")
		if number != fmt.Sprint(written+1) {
			return 0, fmt.Errorf("%s was written after %d: numbers were lost", value, written)
		}
		written++
		return lock.ParseToken(token)
	})
}
