package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

// format is what -o says.
type format string

const (
	table  format = "table"
	wide   format = "wide"
	asJSON format = "json"
)

// register adds -o with a default, the first.
func (f *format) register(fs *pflag.FlagSet, allowed ...format) {
	*f = allowed[0]
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	fs.VarP(&oneOf{f, names}, "output", "o", "output format: "+strings.Join(names, ", "))
}

// oneOf is a flag that takes few values.
type oneOf struct {
	*format

	allowed []string
}

// String is the present value.
func (o *oneOf) String() string {
	if o.format == nil {
		return ""
	}
	return string(*o.format)
}

// Type is what help calls it.
func (o *oneOf) Type() string { return "format" }

// Set takes one of the values.
func (o *oneOf) Set(s string) error {
	if !slices.Contains(o.allowed, s) {
		return fmt.Errorf("must be one of %s", strings.Join(o.allowed, ", "))
	}
	*o.format = format(s)
	return nil
}

// grid is a table for people.
type grid struct {
	head  []string
	rows  [][]string
	marks []string // of the rows, "" for none
	gap   bool     // before it
}

// The colours of lines, where there are any.
const (
	bold   = "\x1b[1m"
	green  = "\x1b[32m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
	blank  = "\x1b[H\x1b[2J"
)

// add adds a row, in a colour.
func (g *grid) add(mark string, cells ...string) {
	g.rows, g.marks = append(g.rows, cells), append(g.marks, mark)
}

// print writes the table. Colours come after the layout, which would count them as letters.
func (a *app) print(g *grid) error {
	var text strings.Builder
	layout := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{g.head}, g.rows...) {
		if _, err := fmt.Fprintln(layout, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	if err := layout.Flush(); err != nil {
		return err
	}
	if g.gap {
		if _, err := fmt.Fprintln(a.out); err != nil {
			return err
		}
	}
	colours := a.colours()
	for i, line := range strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n") {
		line = strings.TrimRight(line, " ")
		mark := bold
		if i > 0 {
			mark = g.marks[i-1]
		}
		if colours && mark != "" {
			line = mark + line + reset
		}
		if _, err := fmt.Fprintln(a.out, line); err != nil {
			return err
		}
	}
	return nil
}

// colours reports whether people see them, and want to.
func (a *app) colours() bool {
	return isTerminal(cmp.Or(a.screen, a.out)) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// object prints a value as one line of JSON.
func (a *app) object(v any) error { return writeJSON(a.out, v) }

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// brief is a duration as people say it.
func brief(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second / 10).String()
	case d < 24*time.Hour:
		return d.Round(time.Second).String()
	default:
		hours := d.Round(time.Hour) / time.Hour
		return fmt.Sprintf("%dd%dh", hours/24, hours%24)
	}
}

// printable is text that does no harm to a terminal.
func printable(b []byte) string {
	if text := string(b); utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return text
	}
	return fmt.Sprintf("%q", b)
}
