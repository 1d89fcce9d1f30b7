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
	keys   string
}

// draw shows who leads, who waits in which order, and how long fail-overs took.
func (p panel) draw(b *board) []string {
	observer := "an observer sees: nobody leads"
	if b.seen.Worker != "" {
		observer = fmt.Sprintf("an observer sees: %s leads, term %s", b.seen.Worker, b.seen.Token)
	}
	lines := []string{"", p.styles.Dim.Render(row("", "", observer, "led", "process"))}
	for _, m := range b.inOrder() {
		lines = append(lines, p.drawMember(b, m))
	}
	if all := b.figure(); len(all) > 0 {
		lines = append(lines, "", p.styles.Dim.Render("  "+header()))
		for _, f := range all {
			lines = append(lines, "  "+f.row())
		}
	}
	return screen.Cut(append(lines, "", p.styles.Dim.Render("  "+p.keys)), p.width)
}

// inOrder returns those in the queue in its order, and then the others.
func (b *board) inOrder() []*member {
	line := b.line()
	place := func(m *member) int {
		if i := slices.Index(line, m.name); i >= 0 {
			return i
		}
		return len(line)
	}
	return slices.SortedStableFunc(slices.Values(b.members.All()), func(x, y *member) int { return place(x) - place(y) })
}

// row aligns the columns of the panel. Cells may be styled.
func row(name, state, detail, led, process string) string {
	return "  " + screen.Left(name, 4) + screen.Left(state, 11) + screen.Left(detail, 44) + screen.Right(led, 6) + screen.Right(process, 10)
}

func (p panel) drawMember(b *board, m *member) string {
	state, detail := p.describe(b, m)
	return row(m.name, state, detail, fmt.Sprintf("%d x", m.terms), p.styles.Dim.Render(fmt.Sprint(m.pid)))
}

// describe says what a candidate does.
func (p panel) describe(b *board, m *member) (state, detail string) {
	bad := p.styles.Bad.Render(string(m.doing))
	left := fmt.Sprintf("%.1f s", time.Duration(m.until-process.Now()).Seconds())
	switch m.doing {
	case leading:
		return p.styles.Good.Render(string(m.doing)), fmt.Sprintf("term %s, %s before its deadline", m.token, left)
	case standing:
		return drawWait(b, m)
	case stopped:
		return bad, fmt.Sprintf("believes in term %s", m.token)
	case cutOff:
		return bad, fmt.Sprintf("term %s, %s before its deadline", m.token, left)
	case killed:
		if slices.Contains(b.line(), m.name) {
			return bad, "in the queue until its lease ends"
		}
		return bad, "no longer in the queue"
	case toldLost:
		return p.styles.Bad.Render("told"), fmt.Sprintf("that it lost term %s", m.token)
	case starting:
	}
	return string(m.doing), ""
}

// drawWait says whom a candidate waits for.
func drawWait(b *board, m *member) (state, detail string) {
	line := b.line()
	switch i := slices.Index(line, m.name); i {
	case -1:
		return string(m.doing), ""
	case 0:
		return "first", "about to learn that it is elected"
	default:
		return "waits", fmt.Sprintf("%d. in the queue, for %s", i, line[i-1])
	}
}
