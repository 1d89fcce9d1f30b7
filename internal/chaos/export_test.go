package chaos

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/conclave-go/conclave/internal/chaos/history"
	"github.com/conclave-go/conclave/internal/chaos/worker"
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

// crewed is a trial of a lock whose workers report to a log.
func crewed(log *history.Log, workers []string) *trial {
	t := &trial{locks: []string{"l"}, log: log}
	for _, name := range workers {
		t.hands = append(t.hands, &hand{trial: t, job: worker.Job{Worker: name}})
	}
	return t
}

// AwaitReady waits until the workers have begun.
func AwaitReady(ctx context.Context, log *history.Log, workers ...string) error {
	return crewed(log, workers).ready(ctx)
}

// AwaitGrant waits until the lock has been granted to one of the workers, and says whom to
// blame if it is not.
func AwaitGrant(ctx context.Context, log *history.Log, workers ...string) error {
	t := crewed(log, workers)
	return t.blame(t.await(ctx, "a grant", 1))
}

// LateBetween is by how much beats at some times, late by so much, count between two.
func LateBetween(from, to int64, beats map[int64]time.Duration) time.Duration {
	var l lateness
	for at, by := range beats {
		l.beats = append(l.beats, lateBy{at, by})
	}
	return l.between(from, to)
}
