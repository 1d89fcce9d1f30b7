package timeline

import (
	"cmp"
	"slices"
	"time"
)

// Overlaps returns for how long more than one of the lanes held the lock before their
// deadlines, in the order of time. A hold counts until its end or its deadline,
// whichever comes first, and one that has not ended until end. Lanes of different
// groups do not matter to each other, nor do holds that are [Shared].
func Overlaps(lanes []Lane, end time.Duration) []Overlap {
	steps := make(map[string][]step)
	for _, lane := range lanes {
		for _, b := range lane.Bars {
			if to := b.reliable(end); b.holds() && to > b.From {
				shared := b.Class == Shared
				steps[lane.Group] = append(steps[lane.Group],
					step{at: b.From, lane: lane.Name, shared: shared, by: 1},
					step{at: to, lane: lane.Name, shared: shared, by: -1})
			}
		}
	}
	var all []Overlap
	for _, group := range steps {
		all = append(all, sweep(group)...)
	}
	slices.SortFunc(all, func(a, b Overlap) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), slices.Compare(a.Lanes, b.Lanes))
	})
	return all
}

// holds reports whether the bar excludes others.
func (b Bar) holds() bool { return b.Class == Hold || b.Class == Shared }

// until returns when the bar ends, on a chart that ends at end.
func (b Bar) until(end time.Duration) time.Duration {
	if b.To == 0 {
		return max(end, b.From)
	}
	return max(b.To, b.From)
}

// reliable returns until when the holder could rely on its hold.
func (b Bar) reliable(end time.Duration) time.Duration {
	to := b.until(end)
	if b.Deadline == 0 {
		return to
	}
	return min(to, b.Deadline)
}

// step is the begin or the end of a hold.
type step struct {
	at     time.Duration
	lane   string
	shared bool
	by     int
}

// sweep goes through the holds of one lock.
func sweep(steps []step) []Overlap {
	// Ends come first: a hold that begins when another ends is its successor.
	slices.SortFunc(steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by), cmp.Compare(a.lane, b.lane))
	})
	var found []Overlap
	var open *Overlap
	holders, exclusive := make(map[string]int), 0
	count := 0
	for _, s := range steps {
		count += s.by
		holders[s.lane] += s.by
		if !s.shared {
			exclusive += s.by
		}
		broken := exclusive > 0 && count > 1
		if !broken && open != nil {
			open.To = s.at
			found, open = append(found, closed(*open)), nil
		}
		if broken {
			if open == nil {
				open = &Overlap{From: s.at}
			}
			open.Lanes = append(open.Lanes, present(holders)...)
		}
	}
	return found
}

// present returns those who hold.
func present(holders map[string]int) []string {
	var names []string
	for name, n := range holders {
		if n > 0 {
			names = append(names, name)
		}
	}
	return names
}

// closed names everybody once.
func closed(o Overlap) Overlap {
	slices.Sort(o.Lanes)
	o.Lanes = slices.Compact(o.Lanes)
	return o
}
