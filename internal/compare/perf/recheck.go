package perf

import (
	"errors"
	"slices"
)

// Check measures works and compares them with what is recorded. Works with regressions
// are measured once again, and only those that regress both times count. Works that are
// not recorded are left out.
func Check(recorded []Figure, works []Work, measure func([]Work) ([]Figure, error)) ([]Regression, error) {
	known := slices.DeleteFunc(slices.Clone(works), func(w Work) bool {
		return !slices.ContainsFunc(recorded, func(f Figure) bool { return f.On() == w.ID() })
	})
	if len(known) == 0 {
		return nil, errors.New("perf: none of the works is recorded")
	}
	run, failed := measure(known)
	first := Regressions(recorded, run)
	if len(first) == 0 {
		return nil, failed
	}
	doubtful := slices.DeleteFunc(known, func(w Work) bool {
		return !slices.ContainsFunc(first, func(r Regression) bool { return r.Figure.On() == w.ID() })
	})
	again, failedAgain := measure(doubtful)
	both := slices.DeleteFunc(Regressions(recorded, again), func(r Regression) bool {
		return !slices.ContainsFunc(first, func(f Regression) bool { return comparison(f.Figure) == comparison(r.Figure) })
	})
	return both, errors.Join(failed, failedAgain)
}
