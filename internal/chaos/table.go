package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/history"
)

// words are the verdicts in five letters.
func (v Verdict) word() string {
	switch v {
	case Held:
		return "held"
	case BrokenExpected:
		return "broke"
	case Broken:
		return "FAIL!"
	case Skipped:
		return "skip"
	default:
		return "-"
	}
}

// Text is the report for a terminal, at most 80 columns wide.
func (r *Report) Text() string {
	var b strings.Builder
	b.WriteString(r.verdicts())
	b.WriteString("\nheld: it kept what it promises. broke: what it does not promise here did not\n" +
		"hold. FAIL!: a promise was broken. skip: something is missing. -: not played.\n\n")
	b.WriteString(r.data())
	b.WriteString("\nunguarded, deadline: nothing checks a token. They show why one is needed: what\n" +
		"they lose is no failure of the lock. fenced: the resource checks the token.\n")
	b.WriteString(r.sets())
	b.WriteString(r.rounds())
	b.WriteString("\n" + r.controls())
	b.WriteString("\n" + r.sums())
	return b.String()
}

// verdicts is the table of scenarios and systems.
func (r *Report) verdicts() string {
	systems, scenarios := r.played()
	var b strings.Builder
	for line := range 2 {
		fmt.Fprintf(&b, "%-15s", "")
		for _, s := range systems {
			fmt.Fprintf(&b, " %-5.5s", heading(s)[line])
		}
		b.WriteString("\n")
	}
	for _, sc := range scenarios {
		fmt.Fprintf(&b, "%-15.15s", sc)
		for _, s := range systems {
			c, _ := r.cell(sc, s)
			fmt.Fprintf(&b, " %-5s", c.Verdict.word())
		}
		b.WriteString("\n")
	}
	return trimLines(b.String())
}

// heading is the name of a system in two lines of five letters.
func heading(system string) [2]string {
	short, ok := map[string][2]string{
		mutex: {"mutex"}, delayed: {"mutex", "delay"}, rwmutex: {"rwmtx"}, elections: {"elec-", "tion"},
		switched: {"conc.", "mutex"}, switchedElect: {"conc.", "elec."}, divided: {"shards"}, ring: {"ring"},
		plainRedis: {"redis"}, redlock5: {"red-", "lock"}, redlockUptime: {"redl.", "uptim"},
		stockMutex: {"stock", "mutex"}, stockElection: {"stock", "elec."}, naiveRedis: {"naive", "redis"},
	}[system]
	if !ok {
		return [2]string{system, system[min(len(system), 5):]}
	}
	return short
}

// played returns the systems and scenarios of the schedule, in their usual order.
func (r *Report) played() (systems, scenarios []string) {
	for _, e := range r.Schedule.Entries {
		scenarios = append(scenarios, e.Scenario)
		systems = append(systems, e.Systems...)
	}
	order := names(func(System) bool { return true })
	for _, p := range r.Schedule.Peers {
		order = append(order, p.Name)
	}
	order = slices.DeleteFunc(order, func(s string) bool { return !slices.Contains(systems, s) })
	return order, scenarios
}

func (r *Report) cell(scenario, system string) (Cell, bool) {
	i := slices.IndexFunc(r.Cells, func(c Cell) bool { return c.Scenario == scenario && c.System == system })
	if i < 0 {
		return Cell{}, false
	}
	return r.Cells[i], true
}

// sum is what the cells of one system come to.
type sum struct {
	grants                int
	writes, lost, refused map[history.Way]int
	late                  time.Duration
}

func (r *Report) sum(system string) sum {
	s := sum{writes: map[history.Way]int{}, lost: map[history.Way]int{}, refused: map[history.Way]int{}}
	for _, c := range r.Cells {
		if c.System != system {
			continue
		}
		s.grants += c.Result.Grants
		for way, n := range c.Result.Writes {
			s.writes[way] += n
		}
		for way, n := range c.Result.Lost {
			s.lost[way] += n
		}
		for way, n := range c.Result.Refused {
			s.refused[way] += n
		}
		for _, d := range c.Result.Late {
			s.late = max(s.late, d)
		}
	}
	return s
}

// data is what became of the registers.
func (r *Report) data() string {
	systems, _ := r.played()
	var b strings.Builder
	fmt.Fprintf(&b, "%-14s %6s %-36s %-13s %7s\n", "", "", "   updates lost, of", "stale refused", "longest")
	fmt.Fprintf(&b, "%-14s %6s %11s %11s %11s %6s %6s %7s\n", "", "grants", "unguarded", "deadline", "fenced", "fence", "txn", "overlap")
	for _, name := range systems {
		s := r.sum(name)
		refused := func(way history.Way) string {
			if s.writes[way] == 0 {
				return "-"
			}
			return fmt.Sprint(s.refused[way])
		}
		fmt.Fprintf(&b, "%-14s %6d %11s %11s %11s %6s %6s %7s\n", name, s.grants, s.of(history.Unguarded), s.of(history.Deadline), s.of(history.Fenced),
			refused(history.Fenced), refused(history.Txn), short(s.late))
	}
	return trimLines(b.String())
}

// sets is what became of the sets that Jepsen broke locks with: one in memory, and one in
// etcd.
func (r *Report) sets() string {
	systems, _ := r.played()
	var b strings.Builder
	fmt.Fprintf(&b, "\nJepsen's sets: %-14s %-21s %s\n", "", "in memory, under", "in etcd, under")
	fmt.Fprintf(&b, "%-29s %10s %10s %10s %10s\n", "", "the lock", "its token", "the lock", "its guard")
	for _, name := range systems {
		s := r.sum(name)
		fmt.Fprintf(&b, "%-29s", name)
		for _, way := range []history.Way{history.Unguarded, history.Fenced, history.Plain, history.Txn} {
			fmt.Fprintf(&b, " %10s", s.of(way))
		}
		b.WriteString("\n")
	}
	return trimLines(b.String())
}

// of says how many of the updates of a register were lost.
func (s sum) of(way history.Way) string {
	if s.writes[way] == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", s.lost[way], s.writes[way])
}

// rounds says how the locks went round while faults lasted that let them.
func (r *Report) rounds() string {
	systems, _ := r.played()
	systems = slices.DeleteFunc(systems, func(name string) bool {
		s, ok := r.Schedule.named(name)
		return !ok || !s.onEtcd()
	})
	var b strings.Builder
	for _, e := range r.Schedule.Entries {
		if !slices.ContainsFunc(r.Cells, func(c Cell) bool { return c.Scenario == e.Scenario && c.Result.Free > 0 }) {
			continue
		}
		if b.Len() == 0 {
			b.WriteString("\nGrants a second while the fault lasted, and holds lost to it:\n")
			for line := range 2 {
				fmt.Fprintf(&b, "%-15s", "")
				for _, s := range systems {
					fmt.Fprintf(&b, " %-7.7s", heading(s)[line])
				}
				b.WriteString("\n")
			}
		}
		fmt.Fprintf(&b, "%-15.15s", e.Scenario)
		for _, s := range systems {
			text := "-"
			if c, ok := r.cell(e.Scenario, s); ok && c.Result.Free > 0 {
				text = fmt.Sprintf("%.1f %d", float64(c.Result.Rounds)/c.Result.Free.Seconds(), c.Result.Losses)
			}
			fmt.Fprintf(&b, " %-7s", text)
		}
		b.WriteString("\n")
	}
	return trimLines(b.String())
}

// controls says which known breaks were found.
func (r *Report) controls() string {
	var b strings.Builder
	for _, c := range r.Controls {
		word := "NOT CAUGHT"
		switch {
		case c.Caught:
			word = "caught"
		case c.Skipped:
			word = "not proven"
		}
		fmt.Fprintf(&b, "control: %-10s  %s\n", word, c.Name)
	}
	return b.String()
}

// sums are the counts and where they come from.
func (r *Report) sums() string {
	var b strings.Builder
	fmt.Fprintf(&b, "locks on etcd went through %d partitions, %d pauses and %d other faults;\nall together %d, %d and %d\n",
		r.Ours.Partitions, r.Ours.Pauses, r.Ours.Others, r.All.Partitions, r.All.Pauses, r.All.Others)
	if n := len(r.Recoveries); n > 0 {
		fmt.Fprintf(&b, "L, from the death of a holder to the next grant:\n%d times, p50 %s, p99 %s, longest %s\n", n,
			short(percentile(r.Recoveries, 0.5)), short(percentile(r.Recoveries, 0.99)), short(r.Recoveries[n-1]))
	}
	if r.Late > r.Took/10 {
		fmt.Fprintf(&b, "the machine had too much to do: it was late by %s in all\n", short(r.Late))
	}
	fmt.Fprintf(&b, "seed %d, %s, %s\n", r.Schedule.Seed, r.Took.Round(time.Second), r.on())
	for _, c := range r.Cells {
		if c.Verdict != Broken && c.Verdict != Skipped {
			continue
		}
		fmt.Fprintf(&b, "\n%s in %s: %s:\n  %s\n", c.System, c.Scenario, c.Verdict, c.Why)
		for _, f := range c.Result.Findings[:min(len(c.Result.Findings), 5)] {
			fmt.Fprintf(&b, "  %s: %s\n", f.Property, f.Text)
		}
	}
	return b.String()
}

// on says what it ran on.
func (r *Report) on() string {
	v := r.Versions
	return fmt.Sprintf("%s, etcd %s (old %s, upgraded %s), Redis %s", v["go"], v["etcd"], cmp.Or(v["old etcd"], "none"), cmp.Or(v["etcd before"], "none"), v["redis"])
}

// short writes a duration with three digits at most.
func short(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < time.Second:
		return fmt.Sprintf("%dms", max(1, d.Milliseconds()))
	default:
		return fmt.Sprintf("%.2fs", d.Seconds())
	}
}

// trimLines removes blanks at the end of lines.
func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n")
}
