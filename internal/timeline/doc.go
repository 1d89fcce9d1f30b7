// Package timeline draws what happened to a lock over time, as one HTML page that
// needs nothing else: no network, no other file, no JavaScript.
//
// A [Page] has facts, a [Table] of verdicts, and a [Chart] for each thing that was
// looked at: a [Lane] per process with its holds as bars and what it was told as
// marks, and bands for as long as a fault lasted. Times are durations from the start
// of their chart. Where two hold a lock at once, before their deadlines, the chart
// says so in red; [Overlaps] finds that.
//
// [Page.Write] writes the same bytes for the same page. All strings are text and are
// escaped, but for [Detail.HTML], which is shown in a frame that cannot reach the
// page. A page may be given thousands of bars: what would be narrower than a pixel is
// drawn as one, and the chart says so.
package timeline
