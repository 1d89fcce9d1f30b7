package capacity

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// table is what is printed.
type table struct {
	title string
	// note stands between title and table.
	note   string
	header []string
	rows   [][]string
}

// text writes tables for a terminal.
func text(out io.Writer, tables []table) error {
	for _, t := range tables {
		if _, err := fmt.Fprintf(out, "%s\n", t.title); err != nil {
			return err
		}
		const pad = 2
		w := tabwriter.NewWriter(out, 0, 0, pad, ' ', tabwriter.AlignRight)
		for _, row := range append([][]string{t.header}, t.rows...) {
			if _, err := fmt.Fprintln(w, strings.Join(row, "\t")+"\t"); err != nil {
				return err
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out); err != nil {
			return err
		}
	}
	return nil
}

// markdown writes tables for a page.
func markdown(out io.Writer, tables []table) error {
	for _, t := range tables {
		var b strings.Builder
		b.WriteString("### " + t.title + "\n\n")
		if t.note != "" {
			b.WriteString(t.note + "\n\n")
		}
		line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
		line(t.header)
		b.WriteString("|---" + strings.Repeat("|---:", len(t.header)-1) + "|\n")
		for _, row := range t.rows {
			line(row)
		}
		b.WriteString("\n")
		if _, err := io.WriteString(out, b.String()); err != nil {
			return err
		}
	}
	return nil
}

// format writes a value with a unit that suits its size and three digits, two if it has
// decimals that nobody can rely on.
func format(value float64, unit string) string {
	switch unit {
	case "B", "B/s":
		return scaled(value, unit)
	case "ms", "ms/s":
		const milli = 1e-3
		return scaled(value*milli, strings.TrimPrefix(unit, "m"))
	default:
		return digits(value)
	}
}

// scaled writes a value with a prefix of its unit.
func scaled(value float64, unit string) string {
	prefixes := []struct {
		factor float64
		name   string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}, {1e-3, "m"}, {1e-6, "µ"}}
	if strings.HasPrefix(unit, "B") {
		prefixes = prefixes[:4] // there is no part of a byte
	}
	for _, p := range prefixes {
		if math.Abs(value) >= p.factor {
			return digits(value/p.factor) + " " + p.name + unit
		}
	}
	return digits(value) + " " + unit
}

// digits writes three significant digits, and a zero for what is next to nothing.
func digits(value float64) string {
	const (
		significant = 3
		nothing     = 1e-4
		whole       = 100
	)
	switch a := math.Abs(value); {
	case a < nothing:
		return "0"
	case a >= whole:
		return thousands(math.Round(value))
	default:
		return strconv.FormatFloat(value, 'g', significant, 64)
	}
}

// thousands writes a whole number with commas.
func thousands(value float64) string {
	s := strconv.FormatFloat(math.Abs(value), 'f', 0, 64)
	const group = 3
	for i := len(s) - group; i > 0; i -= group {
		s = s[:i] + "," + s[i:]
	}
	if value < 0 {
		return "-" + s
	}
	return s
}
