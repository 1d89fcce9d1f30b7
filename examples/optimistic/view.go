package main

import (
	"fmt"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// view shows what was measured, coloured on a terminal.
type view struct{ *screen.Acts }

// sum shows the table, and what there is to learn from it.
func (v *view) sum(results []result) {
	v.Printf("\n%28s%-28s%s\n", "", "swapping", "locking")
	v.Printf("%-7s%7s%8s%9s%8s%11s%9s%11s%8s\n", "work", "at once", "numbers", "per s", "tries", "p99", "per s", "p99", "ratio")
	for _, r := range results {
		style := lipgloss.Style{}
		if r.ratio() >= 1 {
			style = v.Styles.Good
		}
		v.Printf("%-7s%7d%8d%9.0f%8.2f%11s%9.0f%11s%s\n", r.work, r.atOnce, r.numbers,
			r.swap.perSecond(), r.swap.triesEach(), p99(r.swap), r.lock.perSecond(), p99(r.lock),
			style.Render(fmt.Sprintf("%8.2f", r.ratio())))
	}
	v.Printf("\n%s\n", screen.Wrap(lesson(results), screen.DefaultWidth))
}

func p99(m measured) string { return screen.Millis(screen.Percentile(m.took, 99)) }

// lesson says in figures when which of the two is better. The results begin with one
// alone and end with a crowd: on one number, and spread over many.
func lesson(results []result) string {
	alone, crowd, spread := results[0], results[len(results)-2], results[len(results)-1]
	return fmt.Sprintf("Alone, swapping is %.1f times as fast: it needs two round trips, locking four. "+
		"With %d at once on one number, each change is worked out %.1f times and one in a hundred waits %.1f times as long as under the lock, "+
		"which works out each once and serves in order. Spread over %d numbers it is %.2f times. "+
		"So: swap where conflicts are rare and work is cheap to repeat; "+
		"lock where it is dear, has effects elsewhere, or everybody must get a turn.",
		alone.ratio(), crowd.atOnce, crowd.swap.triesEach(),
		float64(screen.Percentile(crowd.swap.took, 99))/float64(screen.Percentile(crowd.lock.took, 99)),
		spread.numbers, spread.swap.triesEach())
}
