package timeline

import "time"

// Chart is what happened in one place. Times are from its start.
type Chart struct {
	// ID is what cells refer to. Letters, digits, '-', '_' and '.'; it has to be
	// another for each chart of a page. "" stands for "chart-" and the chart's number.
	ID string
	// Title is its name, of one line.
	Title string
	// Text is shown above the lanes; an empty line begins a new paragraph.
	Text string
	// Verdict and Outcome say how it ended; both may be empty.
	Verdict Verdict
	Outcome string
	// Length is how long the chart is at least: it reaches to the end of the last thing
	// on it in any case.
	Length time.Duration
	// Lanes are drawn from the top down.
	Lanes []Lane
	// Bands are drawn behind the bars.
	Bands []Band
	// Overlaps are drawn in red; nil has them computed by [Overlaps].
	Overlaps []Overlap
	// Notes are sentences below the lanes.
	Notes []string
	// Details are folded up below the notes.
	Details []Detail
}

// Lane is what one process did.
type Lane struct {
	// Name should be short; what does not fit is in the tooltip.
	Name string
	// Text says more of it, such as its kind or process ID; it may be empty.
	Text string
	// Group names the lock, where a chart has several: holds in lanes of different
	// groups do not exclude each other.
	Group string
	// Bars and Marks may be in any order.
	Bars  []Bar
	Marks []Mark
}

// Bar is something that lasts.
type Bar struct {
	// From is when it begins, To when it ends; To 0 is that it had not ended when the
	// chart does.
	From, To time.Duration
	// Deadline is until when a holder may rely on what it holds, as it last knew; 0 is
	// that nothing is known of one. A hold that ends before is drawn with a hatched tail
	// up to the deadline, unless it was given up, and what is later is hatched.
	Deadline time.Duration
	// Released is that the hold was given up in good order, so that the deadline does
	// not matter any more.
	Released bool
	// Label is drawn on the bar where it fits: the token of a hold.
	Label string
	// Tip is a sentence that is shown when asked for; what the chart knows is added.
	Tip string
	// Class says what the bar is.
	Class BarClass
}

// BarClass is a kind of bar.
type BarClass string

// The kinds of bars.
const (
	Hold    BarClass = ""        // holds the lock, and no other may
	Shared  BarClass = "shared"  // holds it with others that are shared: a reader
	Wait    BarClass = "wait"    // waits for it
	Section BarClass = "section" // is in the critical section; drawn below holds
	Other   BarClass = "other"   // anything else, such as the life of a server
)

// Mark is something that happened at a moment.
type Mark struct {
	// At is when.
	At time.Duration
	// Label is drawn beside the mark where there is room: a word or two.
	Label string
	// Tip is a sentence that is shown when asked for; what the chart knows is added.
	Tip string
	// Class says what the mark is.
	Class MarkClass
}

// MarkClass is a kind of mark.
type MarkClass string

// The kinds of marks.
const (
	Note  MarkClass = ""      // something that happened
	Fault MarkClass = "fault" // something was done to it: killed, restarted
	Told  MarkClass = "told"  // it was told that it lost the lock
	Good  MarkClass = "good"  // a late write was refused
	Bad   MarkClass = "bad"   // a late write was accepted, an update was lost
)

// Band is for as long as something was done to one lane or to all.
type Band struct {
	// From is when it begins, To when it ends; To 0 is the end of the chart.
	From, To time.Duration
	// Label is a word or two: "paused", "cut off".
	Label string
	// Lane is the name of a lane, which is added if there is none; "" is all lanes.
	Lane string
}

// Overlap is for as long as more than one held a lock that excludes others.
type Overlap struct {
	From, To time.Duration
	// Lanes are the names of those who did, at any moment of it.
	Lanes []string
}

// Detail is what a reader who wants to know more unfolds. One of Text and HTML.
type Detail struct {
	// Title is what is shown of it before.
	Title string
	// Text is shown as it is, with its line breaks.
	Text string
	// HTML is a document of its own, with its scripts.
	HTML string
}
