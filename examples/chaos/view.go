package main

import (
	"strings"
	"sync"
	"time"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/chaos"
)

// view shows progress: as lines, or on a terminal with what is being played below.
type view struct {
	began    time.Time
	verbose  bool
	lines    *screen.Lines
	terminal *screen.Terminal // nil if there are only lines

	mu      sync.Mutex
	running []running
}

// running is a scenario that is being played.
type running struct{ scenario, text string }

func newView(r *runner) *view {
	v := &view{began: time.Now(), verbose: r.verbose}
	if r.plain || r.verbose || !screen.Live(r.out) {
		v.lines = &screen.Lines{W: r.out, Failed: r.end}
		return v
	}
	v.terminal = screen.NewTerminal(r.out, r.end, func(string) {})
	return v
}

func (v *view) close() {
	if v.terminal != nil {
		_ = v.terminal.Close() // its failure has ended the run
	}
}

func (v *view) title(text string) {
	if v.terminal != nil {
		v.terminal.Title(text)
		return
	}
	v.lines.Title(text)
}

func (v *view) say(text string) {
	if v.terminal != nil {
		v.terminal.Say(time.Since(v.began), text)
		return
	}
	v.lines.Say(time.Since(v.began), text)
}

// progress is called by several goroutines.
func (v *view) progress(p chaos.Progress) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.note(p)
	if len(p.Cells) > 0 {
		v.say(verdicts(p))
	} else if v.verbose {
		v.say(p.Scenario + ": " + p.Text)
	}
	if v.terminal == nil {
		return
	}
	now := append([]running(nil), v.running...)
	v.terminal.Show(func(s screen.Styles, width int) []string {
		var lines []string
		for _, r := range now {
			lines = append(lines, s.Title.Render(screen.Left(r.scenario, 16))+" "+s.Dim.Render(r.text))
		}
		return screen.Cut(lines, width)
	})
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
