package chaos

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
)

// Schedule is what a run does. Written to a file it can be run again.
type Schedule struct {
	Seed    uint64  `json:"seed"`
	Entries []Entry `json:"entries"`
	// Peers are the locks of other libraries, see [Main].
	Peers []System `json:"peers,omitempty"`
}

// Entry is one scenario with all its choices made.
type Entry struct {
	Scenario string        `json:"scenario"`
	Meaning  string        `json:"meaning,omitempty"`
	Systems  []string      `json:"systems"`
	TTL      time.Duration `json:"ttl"`
	Replica  bool          `json:"replica,omitempty"`
	Etcd     string        `json:"etcd,omitempty"`
	Steps    []Step        `json:"steps"`
}

// server reports whether the entry needs servers of its own, because it breaks them.
func (e Entry) server() bool {
	return e.Replica || e.Etcd != "" || slices.ContainsFunc(e.Steps, func(s Step) bool { return faults()[s.Fault].server })
}

// has reports whether the entry has one of some faults.
func (e Entry) has(some ...string) bool {
	return slices.ContainsFunc(e.Steps, func(s Step) bool { return slices.Contains(some, s.Fault) })
}

// keeps reports whether no hold may be lost to any of the entry's faults.
func (e Entry) keeps() bool {
	return !slices.ContainsFunc(e.Steps, func(s Step) bool { return !faults()[s.Fault].keeps })
}

// check finds what a file says that nobody can do.
func (s Schedule) check(e Entry) error {
	var errs []error
	if e.TTL < time.Second || e.TTL%time.Second != 0 {
		errs = append(errs, fmt.Errorf("chaos: %s: TTL %v: must be whole seconds, at least one", e.Scenario, e.TTL))
	}
	for _, name := range e.Systems {
		if _, ok := s.named(name); !ok {
			errs = append(errs, fmt.Errorf("chaos: %s: no system %q: must be one of %s", e.Scenario, name, strings.Join(names(func(System) bool { return true }), ", ")))
		}
	}
	for i, step := range e.Steps {
		if err := step.check(e.TTL); err != nil {
			errs = append(errs, fmt.Errorf("chaos: %s: step %d: %w", e.Scenario, i+1, err))
		}
	}
	return errors.Join(errs...)
}

// check finds what cannot be done. A holder whose clock is slow has to learn of its loss
// before it is cut off no more, which is when the TTL is over by that clock.
func (s Step) check(ttl time.Duration) error {
	if _, ok := faults()[s.Fault]; !ok {
		return fmt.Errorf("no fault %q", s.Fault)
	}
	if s.Fault != slowClock {
		return nil
	}
	if s.Percent <= 0 || s.Percent >= 100 {
		return fmt.Errorf("%s: %v percent: must be between 0 and 100", s.Fault, s.Percent)
	}
	if least := time.Duration(float64(ttl) * 100 / s.Percent); s.For <= least {
		return fmt.Errorf("%s: %v: must be longer than a TTL by a clock that runs at %v percent, %v", s.Fault, s.For, s.Percent, least)
	}
	return nil
}

// NewSchedule draws the scenarios that only admits from a seed, with n rounds each. A
// scenario's choices depend on the seed and its name alone.
func NewSchedule(seed uint64, ttl time.Duration, n int, only func(scenario, system string) bool) Schedule {
	s := Schedule{Seed: seed}
	for _, sc := range Scenarios() {
		e := Entry{Scenario: sc.Name, Meaning: sc.Meaning, Replica: sc.Replica, Etcd: sc.Etcd}
		e.TTL = cmp.Or(sc.TTL, ttl)
		rounds := n
		if sc.Few > 0 {
			rounds = max(2, n/sc.Few)
		}
		for _, name := range sc.Systems {
			if only(sc.Name, name) {
				e.Systems = append(e.Systems, name)
			}
		}
		if len(e.Systems) > 0 {
			e.Steps = sc.script(newDraw(seed, sc.Name, e.TTL), rounds)
			s.Entries = append(s.Entries, e)
		}
	}
	return s
}

func newDraw(seed uint64, name string, ttl time.Duration) *draw {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // it has no error
	return &draw{Rand: rand.New(rand.NewPCG(seed, h.Sum64())), ttl: ttl}
}

// ReadSchedule reads a file that [Schedule.Save] has written.
func ReadSchedule(path string) (s Schedule, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("chaos: schedule %s: %w", path, err)
	}
	if len(s.Entries) == 0 {
		return s, fmt.Errorf("chaos: schedule %s has no entries", path)
	}
	var errs []error
	for _, e := range s.Entries {
		errs = append(errs, s.check(e))
	}
	return s, errors.Join(errs...)
}

// Save writes the schedule to a file.
func (s Schedule) Save(path string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
