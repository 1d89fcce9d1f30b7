package report

import (
	"fmt"
	"time"

	"github.com/conclave-go/conclave/internal/timeline"
)

// mostKept is how many bars and marks of an act are kept. A page draws far fewer; what
// comes after them is left out.
const mostKept = 100_000

// none is the index of a bar that there is not.
const none = -1

// Recorder turns what processes report into the charts of acts. Times are those of
// one clock, in nanoseconds. A nil Recorder records nothing. Its methods are called by
// one goroutine.
type Recorder struct {
	began  int64
	tracks []*track
	bands  []timeline.Band
	kept   int
	full   time.Duration // since when nothing new is kept; 0 while it is
}

// track is the lane of a process, and which of its bars have not ended.
type track struct {
	timeline.Lane

	wait, hold int
	last       int // hold
	band       int
}

// NewRecorder returns a recorder of the processes of these names. The first chart
// begins at began.
func NewRecorder(began int64, names ...string) *Recorder {
	r := &Recorder{began: began}
	for _, n := range names {
		r.tracks = append(r.tracks, &track{Lane: timeline.Lane{Name: n}, wait: none, hold: none, last: none, band: none})
	}
	return r
}

// find returns the track of a process. What is on others is not kept.
func (r *Recorder) find(name string) *track {
	if r != nil {
		for _, t := range r.tracks {
			if t.Name == name {
				return t
			}
		}
	}
	return &track{wait: none, hold: none, last: none, band: none}
}

// since returns a time on the chart, at which something ends that does: never 0,
// which is that it does not.
func (r *Recorder) since(at int64) time.Duration {
	if r == nil {
		return 1
	}
	return max(time.Duration(at-r.began), 1)
}

// room reports whether another bar or mark is kept.
func (r *Recorder) room(at int64) bool {
	if r == nil || r.full != 0 {
		return false
	}
	if r.kept++; r.kept > mostKept {
		r.full = r.since(at)
	}
	return r.full == 0
}

// Process says which process it is.
func (r *Recorder) Process(name string, pid int) { r.find(name).Text = fmt.Sprintf("process %d", pid) }

// Waits begins a wait, unless the process waits.
func (r *Recorder) Waits(name string, at int64) {
	if t := r.find(name); t.wait == none && r.room(at) {
		t.wait = len(t.Bars)
		t.Bars = append(t.Bars, timeline.Bar{From: r.since(at), Class: timeline.Wait})
	}
}

// Holds ends a wait and begins a hold, with its deadline, 0 if that is not known.
func (r *Recorder) Holds(name string, at int64, token string, deadline int64) {
	t := r.find(name)
	r.endWait(t, at)
	r.end(t, at, false)
	t.last = none
	if r.room(at) {
		t.hold, t.last = len(t.Bars), len(t.Bars)
		t.Bars = append(t.Bars, timeline.Bar{From: r.since(at), Label: token})
		r.Until(name, deadline)
	}
}

// Until moves the deadline of the hold on, also of one that has ended.
func (r *Recorder) Until(name string, deadline int64) {
	if t := r.find(name); t.last != none && deadline != 0 {
		b := &t.Bars[t.last]
		b.Deadline = max(b.Deadline, r.since(deadline))
	}
}

// Released ends a hold in good order.
func (r *Recorder) Released(name string, at int64) { r.end(r.find(name), at, true) }

// Reclaimed is that the hold goes on that was about to be released.
func (r *Recorder) Reclaimed(name string) {
	if t := r.find(name); t.hold == none && t.last != none {
		t.hold = t.last
		t.Bars[t.hold].To, t.Bars[t.hold].Released = 0, false
	}
}

// Lost ends a hold of which the process was told that it is over.
func (r *Recorder) Lost(name string, at int64, why string) {
	r.end(r.find(name), at, false)
	r.Mark(name, at, timeline.Told, "told", why)
}

// Dies ends whatever the process did.
func (r *Recorder) Dies(name string, at int64) {
	t := r.find(name)
	r.endWait(t, at)
	r.end(t, at, false)
}

func (r *Recorder) endWait(t *track, at int64) {
	if t.wait != none {
		t.Bars[t.wait].To, t.wait = r.since(at), none
	}
}

func (r *Recorder) end(t *track, at int64, released bool) {
	if t.hold != none {
		b := &t.Bars[t.hold]
		b.To, b.Released, t.hold = r.since(at), released, none
	}
}

// Mark is something that happens to a process, in a word or two and, where there is
// more to say, in a sentence.
func (r *Recorder) Mark(name string, at int64, class timeline.MarkClass, label, sentence string) {
	if t := r.find(name); r.room(at) {
		t.Marks = append(t.Marks, timeline.Mark{At: r.since(at), Class: class, Label: label, Tip: sentence})
	}
}

// Wrote is the outcome of a write under a hold that was lost.
func (r *Recorder) Wrote(name string, at int64, accepted bool, trouble string) {
	switch {
	case accepted:
		r.Mark(name, at, timeline.Bad, "late write accepted", "")
	case trouble != "":
		r.Mark(name, at, timeline.Note, "late write not answered", trouble)
	default:
		r.Mark(name, at, timeline.Good, "late write refused", "")
	}
}

// Disturbed begins a fault that lasts.
func (r *Recorder) Disturbed(name string, at int64, how string) {
	if t := r.find(name); r.room(at) {
		t.band = len(r.bands)
		r.bands = append(r.bands, timeline.Band{From: r.since(at), Label: how, Lane: name})
	}
}

// Healed ends it.
func (r *Recorder) Healed(name string, at int64) {
	if t := r.find(name); t.band != none {
		r.bands[t.band].To, t.band = r.since(at), none
	}
}
