package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
)

// frameEvery is how often the screen is drawn.
const frameEvery = 50 * time.Millisecond

// live has the terminal to itself: the lines that plain shows, but for the
// hand-overs, and below them a panel that moves. What was said stays on the terminal
// afterwards.
type live struct {
	out     *os.File
	program *tea.Program
	stage   *backdrop
	ended   chan struct{}
	err     error // once ended
}

// newLive takes over the terminal until close. end is called on Ctrl-C.
func newLive(out *os.File, end context.CancelCauseFunc) *live {
	l := &live{out: out, stage: &backdrop{styles: screen.NewStyles()}, ended: make(chan struct{})}
	opts := []tea.ProgramOption{tea.WithOutput(out), tea.WithoutSignalHandler()}
	if !screen.Interactive(os.Stdin) {
		opts = append(opts, tea.WithInput(nil))
	}
	l.program = tea.NewProgram(&model{backdrop: l.stage, width: screen.Width(out), end: end}, opts...)
	go func() { // ends with close
		defer close(l.ended)
		if _, l.err = l.program.Run(); l.err != nil {
			end(l.err)
		}
	}()
	return l
}

func (l *live) title(text string) { l.stage.add(line{text: text, title: true}) }

func (l *live) say(at time.Duration, text string) { l.stage.add(line{at: at, text: text}) }

func (l *live) update(b *board) { l.stage.show(b.clone()) }

func (l *live) handover(time.Duration, *board, handover) {}

// close gives the terminal back, with what was said on it.
func (l *live) close() error {
	l.program.Quit()
	<-l.ended
	for _, text := range l.stage.transcript(screen.Width(l.out)) {
		if _, err := fmt.Fprintln(l.out, text); err != nil {
			return err
		}
	}
	return l.err
}

// line is one that was said, or a title.
type line struct {
	at    time.Duration
	text  string
	title bool
}

// backdrop is what there is to draw.
type backdrop struct {
	styles screen.Styles

	mu    sync.Mutex
	lines []line
	board *board // nil between acts
}

func (b *backdrop) add(l line) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, l)
	if l.title {
		b.board = nil
	}
}

func (b *backdrop) show(board *board) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.board = board
}

func (b *backdrop) current() *board {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.board
}

// transcript returns what was said, as the lines of a screen.
func (b *backdrop) transcript(width int) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, l := range b.lines {
		if l.title {
			out = append(out, "", b.styles.Title.Render(screen.Wrap(l.text, width)))
			continue
		}
		out = append(out, strings.Split(screen.At(l.at, l.text, width), "\n")...)
	}
	return out
}

// model is the program on the terminal.
type model struct {
	*backdrop

	width, height int
	end           context.CancelCauseFunc
}

// frame asks for the next drawing.
type frame struct{}

func nextFrame() tea.Cmd {
	return tea.Tick(frameEvery, func(time.Time) tea.Msg { return frame{} })
}

// Init starts the frames.
func (m *model) Init() tea.Cmd { return nextFrame() }

// Update takes frames, keys and changes of the window's size.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case frame:
		return m, nextFrame()
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		if k := msg.String(); k == "ctrl+c" || k == "q" {
			m.end(program.ErrInterrupted)
		}
	}
	return m, nil
}

// View draws the latest of what was said, and the panel.
func (m *model) View() tea.View {
	lines := m.transcript(m.width)
	var below []string
	if b := m.current(); b != nil {
		below = panel{m.styles, m.width}.draw(b)
	}
	room := max(m.height-len(below), 0)
	lines = append(lines[max(len(lines)-room, 0):], below...)
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	return v
}
