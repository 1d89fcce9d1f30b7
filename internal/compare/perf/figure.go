package perf

import "slices"

// Figure is one figure of one side. Figures of a work follow each other, Conclave's
// before those that it is compared with, and the most telling metric and statistic
// before others.
type Figure struct {
	// Work and Servers say what was done, and on what. Together they identify a [Work].
	Work, Servers string
	// Metric, Unit, More and Stat say what the figure is; see [Metric].
	Metric, Unit string
	More         bool
	Stat         string
	// Side and Lacks say whose it is; see [Side].
	Side, Lacks string
	// Value is the figure, and Ratio how many times better Conclave's is. Conclave's own
	// has none.
	Value float64
	Ratio Ratio
	// Rounds and Samples are how many there were.
	Rounds, Samples int
}

// On returns what identifies the work among others: its name and its servers.
func (f Figure) On() string { return f.Work + " on " + f.Servers }

// ID returns what identifies a work: its name and its servers.
func (w Work) ID() string { return w.Name + " on " + w.On.String() }

// Leading reports whether figure i is of the first statistic of its metric.
func Leading(all []Figure, i int) bool {
	for _, f := range all[:i] {
		if f.On() == all[i].On() && f.Metric == all[i].Metric {
			return f.Stat == all[i].Stat
		}
	}
	return true
}

// Merge returns the recorded figures with those of the works that were done anew in
// their places, and new works at the end.
func Merge(recorded, anew []Figure) []Figure { return merge(recorded, anew, Figure.On) }

// MergeSamples is [Merge] for samples.
func MergeSamples(recorded, anew []Sample) []Sample { return merge(recorded, anew, Sample.on) }

func merge[E any](recorded, anew []E, on func(E) string) []E {
	fresh := make(map[string][]E)
	for _, e := range anew {
		fresh[on(e)] = append(fresh[on(e)], e)
	}
	var all []E
	done := make(map[string]bool)
	for _, e := range slices.Concat(recorded, anew) {
		of, again := fresh[on(e)]
		switch {
		case !again:
			all = append(all, e)
		case !done[on(e)]:
			done[on(e)] = true
			all = append(all, of...)
		}
	}
	return all
}
