package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
)

// view shows a run to people. Its methods are called by one goroutine.
type view interface {
	Title(line string)
	Say(at time.Duration, line string)
	Close() error
	update(b *board)
}

// newView returns what suits the place where the output goes. end is called when
// nobody looks on any more, or does not want to.
func (o *options) newView(out *os.File, end context.CancelCauseFunc) view {
	if !o.moves(out) {
		return &plain{screen.Lines{W: out, Failed: end}}
	}
	return live{screen.NewTerminal(out, end, func(key string) {
		if key == "q" {
			end(program.ErrInterrupted)
		}
	})}
}

// moves reports whether out may have colours and a panel.
func (o *options) moves(out *os.File) bool { return !o.plain && screen.Live(out) }

// plain writes lines.
type plain struct{ screen.Lines }

func (p *plain) update(*board) {}

// live shows a panel below them.
type live struct{ *screen.Terminal }

func (l live) update(b *board) {
	b = b.clone()
	l.Show(func(styles screen.Styles, width int) []string { return panel{styles, width}.draw(b) })
}

// panel is the part of the screen that moves.
type panel struct {
	styles screen.Styles
	width  int
}

// draw shows who does what, what is wrong with the nodes, and how long the latest
// hand-overs took.
func (p panel) draw(b *board) []string {
	lines := []string{"", p.styles.Dim.Render(row("", "", "", "had it", "hand-over", "process"))}
	for _, m := range b.members.All() {
		lines = append(lines, p.drawMember(m))
	}
	lines = append(lines, "", "  "+p.drawNodes(b.nodes), "",
		"  "+screen.Spread("hand-overs", b.handovers),
		"  "+screen.Bars(b.handovers, p.width-len("  "), p.styles),
		"", p.styles.Dim.Render("  q or Ctrl-C ends it"))
	return screen.Cut(lines, p.width)
}

// row aligns the columns of the panel. Cells may be styled.
func row(name, state, detail, had, took, process string) string {
	return "  " + screen.Left(name, 4) + screen.Left(state, 11) + screen.Left(detail, 33) +
		screen.Right(had, 7) + screen.Right(took, 11) + screen.Right(process, 9)
}

func (p panel) drawMember(m *member) string {
	state, detail := string(m.doing), ""
	switch m.doing {
	case holds:
		state = p.styles.Good.Render(state)
	case stopped:
		state, detail = p.styles.Bad.Render(state), "and does not know it"
	case toldLost:
		state, detail = p.styles.Bad.Render(state), "that it lost the lock"
	case asking:
		if d := time.Duration(process.Now() - m.wanted); d > time.Second/2 {
			detail = fmt.Sprintf("for %.1f s", d.Seconds())
		}
	case starting, resting:
	}
	return row(m.name, state, detail, fmt.Sprintf("%d x", m.acquired), screen.Millis(m.last), p.styles.Dim.Render(fmt.Sprint(m.pid)))
}

func (p panel) drawNodes(nodes []condition) string {
	var parts []string
	for i, c := range nodes {
		style := p.styles.Bad
		if c == healthy {
			style = p.styles.Good
		}
		parts = append(parts, fmt.Sprintf("%d %s", i+1, style.Render(string(c))))
	}
	return "nodes   " + strings.Join(parts, "   ")
}
