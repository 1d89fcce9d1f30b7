package report

import (
	"fmt"
	"time"

	"github.com/conclave-go/conclave/internal/timeline"
)

// Chart returns what was recorded up to a time, and begins the next chart with what
// has not ended by then. expected is that a break is no surprise.
func (r *Recorder) Chart(at int64, title, outcome string, expected bool) timeline.Chart {
	if r == nil {
		return timeline.Chart{}
	}
	c := timeline.Chart{Title: title, Outcome: outcome, Length: r.since(at), Bands: r.bands}
	for _, t := range r.tracks {
		c.Lanes = append(c.Lanes, t.Lane)
	}
	if r.full != 0 {
		c.Notes = append(c.Notes, fmt.Sprintf("After %s no more was recorded.", r.full.Round(time.Millisecond)))
	}
	c.Verdict = judge(c, expected)
	r.Restart(at)
	return c
}

// judge says whether two held at once, or a late write was accepted.
func judge(c timeline.Chart, expected bool) timeline.Verdict {
	broken := len(timeline.Overlaps(c.Lanes, c.Length)) > 0
	for _, l := range c.Lanes {
		for _, m := range l.Marks {
			broken = broken || m.Class == timeline.Bad
		}
	}
	switch {
	case !broken:
		return timeline.Held
	case expected:
		return timeline.BrokenExpected
	}
	return timeline.Broken
}

// Restart drops what was recorded, and begins a chart with what has not ended.
func (r *Recorder) Restart(at int64) {
	if r == nil {
		return
	}
	began := r.since(at)
	r.began, r.kept, r.full = at, 0, 0
	bands := r.bands
	r.bands = nil
	for _, t := range r.tracks {
		t.next(began)
		if t.band != none {
			b := bands[t.band]
			b.From = 1
			t.band = len(r.bands)
			r.bands = append(r.bands, b)
		}
	}
}

// next keeps the bars that have not ended, as they will be on a chart that begins
// later.
func (t *track) next(later time.Duration) {
	bars := t.Bars
	t.Bars, t.Marks, t.last = nil, nil, none
	if t.wait != none {
		t.wait = t.keep(bars[t.wait], later)
	}
	if t.hold != none {
		t.hold = t.keep(bars[t.hold], later)
		t.last = t.hold
	}
}

func (t *track) keep(b timeline.Bar, later time.Duration) int {
	b.From = max(b.From-later, 1)
	if b.Deadline != 0 {
		b.Deadline = max(b.Deadline-later, 1)
	}
	t.Bars = append(t.Bars, b)
	return len(t.Bars) - 1
}
