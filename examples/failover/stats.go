package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// figures are the fail-overs of one act.
type figures struct {
	act  string
	took []time.Duration // sorted
	told []time.Duration // sorted; empty if the act is not about that
}

// figure returns the figures of the acts that were played.
func (b *board) figure() []figures {
	var all []figures
	for _, a := range acts() {
		f := figures{act: a.name}
		for _, x := range b.failovers {
			if x.act != a.name {
				continue
			}
			f.took = append(f.took, x.took)
			if x.told != 0 {
				f.told = append(f.told, x.told)
			}
		}
		if len(f.took) > 0 {
			slices.Sort(f.took)
			slices.Sort(f.told)
			all = append(all, f)
		}
	}
	return all
}

// cells writes them: how many, the least, the median, the most, and by how much the
// old leader was told before the next was elected, if the act is about that.
func (f figures) cells() [5]string {
	n := len(f.took)
	cells := [5]string{strconv.Itoa(n), screen.Short(f.took[0]), screen.Short(f.took[(n-1)/2]), screen.Short(f.took[n-1])}
	if len(f.told) > 0 {
		cells[4] = verdict(f.told[0])
	}
	return cells
}

// row writes them, 72 columns wide.
func (f figures) row() string {
	c := f.cells()
	return strings.TrimRight(fmt.Sprintf("%-10s %5s %10s %10s %10s   %s", f.act, c[0], c[1], c[2], c[3], c[4]), " ")
}

// header is the first line of a table of figures.
func header() string {
	return fmt.Sprintf("%-10s %5s %10s %10s %10s   %s", "fail-over", "", "min", "median", "max", "the old one was told")
}

// summary writes what a run has shown, 79 columns wide at most.
func summary(b *board) string {
	var out strings.Builder
	if all := b.figure(); len(all) > 0 {
		fmt.Fprintln(&out, header())
		for _, f := range all {
			fmt.Fprintln(&out, f.row())
		}
		fmt.Fprintf(&out, "\nFrom the fault to the moment at which the next leader knew, with a TTL of %s.\n", b.ttl)
	}
	r := &b.record
	fmt.Fprintf(&out, "%s, %s under their guard, and %d too late, refused.\n",
		count(len(r.terms), "term"), count(r.accepted, "write"), r.late)
	if r.verdict() == nil {
		out.WriteString("Never two leaders before their deadlines, nor a write of a former one.\n")
	}
	return out.String()
}

// count writes a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
