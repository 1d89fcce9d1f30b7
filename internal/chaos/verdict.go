package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/history"
)

// Verdict is what became of a system in a scenario.
type Verdict string

// The verdicts.
const (
	Held           Verdict = "HELD"
	BrokenExpected Verdict = "BROKEN (expected)"
	Broken         Verdict = "BROKEN (unexpected)"
	Skipped        Verdict = "SKIPPED"
)

// Cell is one system in one scenario.
type Cell struct {
	Scenario string  `json:"scenario"`
	System   string  `json:"system"`
	Verdict  Verdict `json:"verdict"`
	// Why says what was broken, or why it was skipped.
	Why    string         `json:"why,omitempty"`
	Result history.Result `json:"result"`
	// Events is the whole history; it goes into a file of its own.
	Events []history.Event `json:"-"`
	Entry  Entry           `json:"-"`
}

// judge makes a cell of what was found. late is by how much the machine was late.
func judge(e Entry, s System, events []history.Event, late func(from, to int64) time.Duration) Cell {
	rules := history.Rules{TTL: e.TTL, Tokens: s.onEtcd(), Kept: e.keeps(), Planned: s.Shards > 0, Late: late}
	if e.has(killPlanner) { // a plan of 65,536 shards takes seconds on a busy machine
		rules.TTL += 5 * time.Second
	}
	c := Cell{Scenario: e.Scenario, System: s.Name, Verdict: Held, Events: events, Entry: e}
	for _, some := range s.split(events) {
		c.Result.Add(history.Check(some, rules))
	}
	promised := s.promises(e.Steps)
	var broken, expected []string
	for _, f := range c.Result.Findings {
		list := &expected
		if slices.Contains(promised, f.Property) || f.Property == history.Live && !s.Control {
			list = &broken
		}
		*list = append(*list, string(f.Property))
	}
	switch {
	case len(broken) > 0:
		c.Verdict, c.Why = Broken, tally(broken)
	case len(expected) > 0:
		// L is promised by locks on etcd only, and means nothing where nobody does.
		expected = slices.DeleteFunc(expected, func(p string) bool { return p == string(history.L) })
		if len(expected) > 0 {
			c.Verdict, c.Why = BrokenExpected, tally(expected)
		}
	}
	return c
}

// split returns the events of each lock, with those that are about all.
func (s System) split(events []history.Event) (all [][]history.Event) {
	if s.Shards == 0 {
		return [][]history.Event{events}
	}
	locks := make(map[string][]history.Event)
	for _, e := range events {
		if strings.Contains(e.Lock, "/shard/") {
			locks[e.Lock] = nil
		}
	}
	for name := range locks {
		for _, e := range events {
			if e.Lock == name || !strings.Contains(e.Lock, "/shard/") {
				locks[name] = append(locks[name], e)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(locks)) {
		all = append(all, locks[name])
	}
	return all
}

// tally says what there is how often, in alphabetical order.
func tally(words []string) string {
	count := make(map[string]int)
	for _, w := range words {
		count[w]++
	}
	var parts []string
	for _, w := range slices.Sorted(keys(count)) {
		parts = append(parts, fmt.Sprintf("%s ×%d", w, count[w]))
	}
	return strings.Join(parts, ", ")
}

// keys iterates over the keys of a map.
func keys(m map[string]int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// skip makes a cell of what was not played.
func skip(e Entry, s System, why string) Cell {
	return Cell{Scenario: e.Scenario, System: s.Name, Verdict: Skipped, Why: why, Entry: e}
}

// Control is a break that the lab has to find.
type Control struct {
	// Name says what it is.
	Name string `json:"name"`
	// One of the Systems breaks Property in one of the Scenarios.
	Systems   []string         `json:"systems"`
	Scenarios []string         `json:"scenarios"`
	Property  history.Property `json:"property,omitempty"`
	// Loses is set instead if it is that updates of a register are lost.
	Loses history.Way `json:"loses,omitempty"`
	// Caught and Skipped say how it went; neither is that the lab is blind.
	Caught  bool `json:"caught"`
	Skipped bool `json:"skipped"`
}

// Controls returns what the lab has to catch, if it plays it.
func Controls() []Control {
	cuts := []string{"cut", "cut-one-way", "vanish"}
	return []Control{
		{Name: "a stock session learns too late of a partition", Systems: []string{stockMutex}, Scenarios: cuts, Property: history.S3},
		{Name: "a stock Campaign elects a phantom", Systems: []string{stockElection}, Scenarios: []string{"cut-waiting"}, Property: history.Real},
		{
			Name: "a stock session loses its lock although other members are there", Systems: []string{stockMutex, stockElection},
			Scenarios: []string{"follower-cut", "member-vanish", "member-replace", "member-away"}, Property: history.Kept,
		},
		{Name: "a hash ring without locks has two owners in a partition", Systems: []string{ring}, Scenarios: cuts, Property: history.S3},
		{Name: "a holder whose clock runs slow beyond the allowance", Systems: []string{mutex}, Scenarios: []string{"clock-beyond"}, Property: history.S3},
		{Name: "Redlock when clocks jump", Systems: []string{redlock5}, Scenarios: []string{"redis-clock"}, Property: history.S3},
		{Name: "Redlock when nodes restart without persistence", Systems: []string{redlock5}, Scenarios: []string{"redis-restart"}, Property: history.S3},
		{Name: "plain Redis when it fails over", Systems: []string{plainRedis}, Scenarios: []string{"redis-failover"}, Property: history.S3},
		{
			Name: "a set in memory under nothing but a lock", Systems: names(System.lock),
			Scenarios: []string{"pause-between"}, Loses: history.Unguarded,
		},
		{
			Name: "a set in etcd under nothing but a lock", Systems: names(System.lock),
			Scenarios: []string{"pause-between"}, Loses: history.Plain,
		},
		{
			Name: "an unlock that does not look whose lock it is", Systems: []string{naiveRedis},
			Scenarios: []string{"pause-before", "pause-between"}, Property: history.S3,
		},
	}
}

// catch looks for the controls among the cells. Of one that was not caught nothing can be
// said unless all of its scenarios were played, or skipped.
func catch(cells []Cell) []Control {
	var all []Control
	for _, c := range Controls() {
		over := make(map[string]bool) // its scenarios
		for _, cell := range cells {
			switch {
			case !slices.Contains(c.Systems, cell.System) || !slices.Contains(c.Scenarios, cell.Scenario):
				continue
			case cell.Verdict == Skipped:
				c.Skipped = true
			case cell.Result.Broken(c.Property), cell.Result.Lost[c.Loses] > 0:
				c.Caught = true
			}
			over[cell.Scenario] = true
		}
		if c.Caught || len(over) == len(c.Scenarios) {
			c.Skipped = c.Skipped && !c.Caught
			all = append(all, c)
		}
	}
	return all
}

// percentile returns the nearest-rank percentile of sorted durations, 0 of none.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}
