package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// view shows what happens, coloured on a terminal.
type view struct {
	lines  screen.Lines
	styles screen.Styles
	began  time.Time // the present act
}

func newView(out *os.File, failed context.CancelCauseFunc) *view {
	v := &view{lines: screen.Lines{W: out, Failed: failed}}
	if screen.Live(out) {
		v.styles = screen.NewStyles()
	}
	return v
}

func (v *view) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(v.lines.W, format, args...); err != nil {
		v.lines.Failed(err)
	}
}

// title introduces an act, whose time begins.
func (v *view) title(text string) {
	v.began = time.Now()
	v.lines.Title(v.styles.Title.Render(text))
}

// say tells what has just happened.
func (v *view) say(style lipgloss.Style, text string) {
	v.lines.Say(time.Since(v.began), style.Render(text))
}

// table sums up.
func (v *view) table(results []result) {
	const row = "%-14s%8v%8v%s"
	v.printf("\n"+row+"\n", "", "calls", "failed", "")
	for _, r := range results {
		style, note := v.styles.Good, ""
		switch {
		case r.check() != nil:
			style, note = v.styles.Bad, "  more than expected"
		case r.failed > 0:
			style, note = lipgloss.Style{}, "  those that s3 was answering"
		}
		v.printf("%s\n", style.Render(fmt.Sprintf(row, r.name, r.calls, r.failed, note)))
	}
}
