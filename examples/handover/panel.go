package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
)

// panel is the part of the screen that moves.
type panel struct {
	styles screen.Styles
	width  int
}

// draw shows who does what, and how long the latest hand-overs took.
func (p panel) draw(b *board) []string {
	lines := []string{"", p.styles.Dim.Render(row("", "", "", "had it", "hand-over", "process"))}
	for _, m := range b.members.All() {
		lines = append(lines, p.drawMember(b, m))
	}
	lines = append(lines, "", "  "+screen.Spread("hand-overs", b.took()),
		"  "+screen.Bars(b.took(), p.width-len("  "), p.styles), "", p.styles.Dim.Render("  q or Ctrl-C ends it"))
	return screen.Cut(lines, p.width)
}

// row aligns the columns of the panel. Cells may be styled.
func row(name, state, detail, had, took, process string) string {
	return "  " + screen.Left(name, 4) + screen.Left(state, 11) + screen.Left(detail, 33) + screen.Right(had, 7) + screen.Right(took, 11) + screen.Right(process, 9)
}

func (p panel) drawMember(b *board, m *member) string {
	state, detail := string(m.doing), ""
	switch m.doing {
	case holds:
		state, detail = p.styles.Good.Render(state), "token "+m.token
	case starting:
	case waiting, between:
		state, detail = drawWait(b, m)
	case stopped, cutOff:
		state, detail = p.styles.Bad.Render(state), "still believes in token "+m.token
	case killed:
		state, detail = p.styles.Bad.Render(state), "no longer in the queue"
		if slices.Contains(b.line(), m.name) {
			detail = "in the queue until its lease ends"
		}
	case toldLost:
		state, detail = p.styles.Bad.Render("told"), "that it lost the lock"
	}
	return row(m.name, state, detail, fmt.Sprintf("%d x", m.acquired), screen.Millis(m.last), p.styles.Dim.Render(fmt.Sprint(m.pid)))
}

// drawWait says whom a worker waits for, and for how long if that is for long.
func drawWait(b *board, m *member) (state, detail string) {
	before := b.predecessor(m.name)
	if before == "" {
		return "asks", ""
	}
	detail = "for " + before
	if d := time.Duration(process.Now() - m.wanted); d > time.Second/2 {
		detail += fmt.Sprintf(" (%.1f s)", d.Seconds())
	}
	return string(waiting), detail
}
