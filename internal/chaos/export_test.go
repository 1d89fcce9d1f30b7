package chaos

import (
	"maps"
	"slices"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/history"
)

// Judge is judge.
func Judge(e Entry, system string, events []history.Event) Cell {
	s, _ := Schedule{}.named(system)
	return judge(e, s, events, nil)
}

// Skip is skip.
func Skip(e Entry, system, why string) Cell {
	s, _ := Schedule{}.named(system)
	return skip(e, s, why)
}

// NewReport is the report of a run with these cells.
func NewReport(s Schedule, cells ...Cell) *Report {
	return (&lab{report: &Report{Schedule: s, Cells: cells}}).finish()
}

// FaultNames are those of all faults.
func FaultNames() []string { return slices.Sorted(maps.Keys(faults())) }

// Promises is what a system promises under a fault.
func Promises(system, fault string) []history.Property {
	s, _ := Schedule{}.named(system)
	return s.promises([]Step{{Fault: fault}})
}

// LateBetween is by how much beats at some times, late by so much, count between two.
func LateBetween(from, to int64, beats map[int64]time.Duration) time.Duration {
	var l lateness
	for at, by := range beats {
		l.beats = append(l.beats, lateBy{at, by})
	}
	return l.between(from, to)
}
