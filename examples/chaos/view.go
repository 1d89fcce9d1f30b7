package main

import (
	"strings"
	"sync"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/chaos"
)

// view shows progress: as lines, and on a terminal with what is being played below.
type view struct {
	verbose bool

	mu      sync.Mutex // protects what follows
	acts    *screen.Acts
	running []running
}

// running is a scenario that is being played.
type running struct{ scenario, text string }

func newView(r *runner) *view {
	v := &view{verbose: r.verbose, acts: screen.NewActs(r.out, r.end)}
	if r.plain || r.verbose {
		v.acts.Plain()
	}
	v.acts.Show(v.draw, func(string) {})
	return v
}

func (v *view) close() { _ = v.acts.Close() } // its failure has ended the run

func (v *view) title(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.acts.Begin(format, args...)
}

// progress is called by several goroutines.
func (v *view) progress(p chaos.Progress) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.note(p)
	if len(p.Cells) > 0 {
		v.acts.Tell(lipgloss.Style{}, "%s", verdicts(p))
	} else if v.verbose {
		v.acts.Tell(lipgloss.Style{}, "%s: %s", p.Scenario, p.Text)
	}
}

// draw shows what is being played.
func (v *view) draw(s screen.Styles, width int) (lines []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.running {
		lines = append(lines, s.Title.Render(screen.Left(r.scenario, 16))+" "+s.Dim.Render(r.text))
	}
	return screen.Cut(lines, width)
}

// note keeps up with what is being played. mu must be held.
func (v *view) note(p chaos.Progress) {
	for i := range v.running {
		if v.running[i].scenario == p.Scenario {
			v.running[i].text = p.Text
			if p.Cells != nil {
				v.running = append(v.running[:i], v.running[i+1:]...)
			}
			return
		}
	}
	if p.Cells == nil {
		v.running = append(v.running, running{p.Scenario, p.Text})
	}
}

// verdicts says in a sentence how a scenario ended.
func verdicts(p chaos.Progress) string {
	text := []string{p.Scenario + ":"}
	for _, v := range []chaos.Verdict{chaos.Held, chaos.BrokenExpected, chaos.Broken, chaos.Skipped} {
		of := []string{string(v)}
		for _, c := range p.Cells {
			if c.Verdict == v {
				of = append(of, c.System)
			}
		}
		if len(of) > 1 {
			text = append(text, strings.Join(of, " ")+".")
		}
	}
	return strings.Join(text, " ")
}

// indent wraps a sentence below what it is about.
func indent(text string) string {
	const by = "    "
	return by + strings.ReplaceAll(screen.Wrap(text, screen.DefaultWidth-len(by)), "\n", "\n"+by) + "\n"
}
