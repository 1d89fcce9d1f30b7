package perf

import "fmt"

const (
	// Tolerated is the share of a recorded ratio that a new one may have: two runs on one
	// machine differ by less.
	Tolerated = .7
	// ceiling is the ratio above which all count the same: Conclave's figure is then so
	// near to zero that chance decides how near.
	ceiling = 20
)

// Regression is a ratio that is too far below the recorded one.
type Regression struct {
	// Figure is the new figure of the other side.
	Figure Figure
	// Was and Is are the ratios, at most 20.
	Was, Is float64
}

// String says what has become worse, and by how much.
func (r Regression) String() string {
	return fmt.Sprintf("%s, %s %s: %.2f times better than %s, recorded %.2f: %.0f %% less",
		r.Figure.On(), r.Figure.Stat, r.Figure.Metric, r.Is, r.Figure.Side, r.Was, 100*(1-r.Is/r.Was))
}

// Regressions compares the leading ratios of a run with those recorded of the same work,
// metric and side. What is not in both is not compared.
func Regressions(recorded, run []Figure) []Regression {
	was, is := goodness(recorded), goodness(run)
	var all []Regression
	for i, f := range run {
		before, now := was[comparison(f)], is[comparison(f)]
		if Leading(run, i) && before > 0 && now > 0 && now < Tolerated*before {
			all = append(all, Regression{f, before, now})
		}
	}
	return all
}

// goodness returns the ratios by what they compare. A figure of Conclave's that is zero
// where less is better cannot be surpassed.
func goodness(all []Figure) map[string]float64 {
	ratios := make(map[string]float64)
	var ours Figure
	for _, f := range all {
		switch {
		case f.Side == Ours:
			ours = f
		case f.Ratio.Mid > 0:
			ratios[comparison(f)] = min(f.Ratio.Mid, ceiling)
		case !f.More && ours.Value == 0 && f.Value > 0:
			ratios[comparison(f)] = ceiling
		}
	}
	return ratios
}

// comparison returns what identifies a ratio.
func comparison(f Figure) string {
	return fmt.Sprintf("%s|%s|%s|%s", f.On(), f.Metric, f.Stat, f.Side)
}
