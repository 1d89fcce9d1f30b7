package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// view writes lines, coloured on a terminal.
type view struct {
	out    *os.File
	width  int
	styles screen.Styles
	failed context.CancelCauseFunc // called when nobody reads them
	began  time.Time
}

func newView(out *os.File, failed context.CancelCauseFunc) *view {
	v := &view{out: out, width: screen.Width(out), failed: failed}
	if screen.Live(out) {
		v.styles = screen.NewStyles()
	}
	return v
}

func (v *view) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(v.out, format, args...); err != nil {
		v.failed(err)
	}
}

// title introduces an act, whose time begins.
func (v *view) title(text string) {
	v.began = time.Now()
	v.printf("\n%s\n", v.styles.Title.Render(screen.Wrap(text, v.width)))
}

// say tells what has just happened.
func (v *view) say(style lipgloss.Style, text string) {
	for line := range strings.SplitSeq(screen.At(time.Since(v.began), text, v.width), "\n") {
		v.printf("%s\n", style.Render(line))
	}
}

// table sums up. It fails if something else than expected has happened.
func (v *view) table(results []result) (err error) {
	const row = "%-11s%-27s%-20s%-7v%v"
	v.printf("\n"+row+"\n", "", "late write", "its Hold then says", "stock", "should be")
	for _, r := range results {
		style := v.styles.Good
		if r.left != shouldBeLeft {
			style = v.styles.Bad
		}
		hold := "nothing"
		if r.told.Lost != "" {
			hold = "lost"
		}
		v.printf("%s\n", style.Render(fmt.Sprintf(row, r.name, outcome(r.late), hold, r.left, shouldBeLeft)))
		if !r.asExpected() {
			err = errors.New("this is not what was expected")
		}
	}
	return err
}
