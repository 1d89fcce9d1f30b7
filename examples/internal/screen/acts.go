package screen

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
)

// Acts shows a program that has several acts: what each is about, and what happened in
// it and when, as lines, coloured on a terminal. Its methods are called by one
// goroutine. Use NewActs.
type Acts struct {
	// Styles are plain in a pipe.
	Styles Styles

	file     *os.File
	out      io.Writer // the file, or the terminal
	terminal *Terminal // nil if there is no panel
	live     bool
	width    int
	failed   context.CancelCauseFunc
	began    time.Time
}

// NewActs returns one on out. failed is called when nobody reads what it writes.
func NewActs(out *os.File, failed context.CancelCauseFunc) *Acts {
	a := &Acts{file: out, out: out, live: Live(out), width: Width(out), failed: failed}
	if a.live {
		a.Styles = NewStyles()
	}
	return a
}

// Plain has lines look as in a pipe.
func (a *Acts) Plain() { a.live, a.Styles = false, Styles{} }

// Live reports whether there may be a panel.
func (a *Acts) Live() bool { return a.live }

// Show takes over the terminal until Close, if it is one, with a panel below the lines.
// See [NewTerminal].
func (a *Acts) Show(p Panel, pressed func(key string)) {
	if a.live {
		a.terminal = NewTerminal(a.file, a.failed, pressed)
		a.out = a.terminal
		a.terminal.Show(p)
	}
}

// Close gives the terminal back.
func (a *Acts) Close() error {
	if a.terminal == nil {
		return nil
	}
	a.out = a.file
	return a.terminal.Close()
}

// Printf writes what belongs to no act.
func (a *Acts) Printf(format string, args ...any) {
	if _, err := fmt.Fprintf(a.out, format, args...); err != nil {
		a.failed(err)
	}
}

// Wrap breaks a text that is wider than the screen.
func (a *Acts) Wrap(text string) string { return Wrap(text, a.width) }

// Width is that of the screen.
func (a *Acts) Width() int { return a.width }

// Began returns when the act began.
func (a *Acts) Began() time.Time { return a.began }

// Begin introduces an act, whose time begins.
func (a *Acts) Begin(format string, args ...any) {
	a.began = time.Now()
	a.Printf("\n%s\n", a.Styles.Title.Render(a.Wrap(fmt.Sprintf(format, args...))))
}

// Tell tells what has just happened.
func (a *Acts) Tell(style lipgloss.Style, format string, args ...any) {
	a.TellAt(time.Now(), style, format, args...)
}

// TellAt tells what happened at a time.
func (a *Acts) TellAt(t time.Time, style lipgloss.Style, format string, args ...any) {
	text := At(max(t.Sub(a.began), 0), fmt.Sprintf(format, args...), a.width)
	for line := range strings.SplitSeq(text, "\n") {
		a.Printf("%s\n", style.Render(line))
	}
}
