package perf

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// WriteTable writes the figures of a work for readers of a terminal or a log, under a
// heading.
func WriteTable(to io.Writer, heading string, all []Figure) error {
	if _, err := fmt.Fprintf(to, "\n%s\n", heading); err != nil {
		return err
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, f := range all {
		what := ""
		if f.Side == Ours {
			what = f.Stat + " " + f.Metric
		}
		if _, err := fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", what, f.Side, Short(f.Value), f.Unit, f.Ratio); err != nil {
			return err
		}
	}
	return w.Flush()
}

// String writes a ratio with its interval, "2.4x (2.1–2.8)", and nothing if there is
// none.
func (r Ratio) String() string {
	if r.Mid == 0 {
		return ""
	}
	mid, low, high := Short(r.Mid), Short(r.Low), Short(r.High)
	if low == high { // one sample has no interval
		return mid + "x"
	}
	return fmt.Sprintf("%sx (%s–%s)", mid, low, high)
}

// Short writes a number with three digits or, if it is large, all of its whole part.
func Short(v float64) string {
	if v >= 1000 || v <= -1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	s := strconv.FormatFloat(v, 'g', 3, 64)
	if strings.Contains(s, "e") {
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
	return s
}

// WriteMarkdown writes the leading figures as tables, one for each kind of work (what its
// name begins with), a row for each metric and side that Conclave is compared with.
func WriteMarkdown(to io.Writer, all []Figure) error {
	var b strings.Builder
	kind := ""
	var ours Figure
	for i, f := range all {
		if !Leading(all, i) {
			continue
		}
		if k, _, _ := strings.Cut(f.Work, "/"); k != kind {
			kind = k
			fmt.Fprintf(&b, "\n## %s\n\n| work | on | figure | conclave | compared with | its figure | times better | it lacks |\n", kind)
			b.WriteString("|---|---|---|---:|---|---:|---:|---|\n")
		}
		if f.Side == Ours {
			ours = f
			continue
		}
		_, name, _ := strings.Cut(f.Work, "/")
		fmt.Fprintf(&b, "| %s | %s | %s %s | %s | %s | %s | %s | %s |\n",
			name, f.Servers, f.Stat, f.Metric, withUnit(ours), f.Side, withUnit(f), f.Ratio, cell(f.Lacks))
	}
	_, err := io.WriteString(to, b.String())
	return err
}

func withUnit(f Figure) string { return Short(f.Value) + " " + f.Unit }

// cell escapes what would end a cell.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
