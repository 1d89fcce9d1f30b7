package screen

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/conclave-go/conclave/examples/internal/program"
)

// frameEvery is how often the screen is drawn.
const frameEvery = 50 * time.Millisecond

// Panel draws what moves, as lines of a screen, see [Cut]. It is called by a
// goroutine of the terminal's.
type Panel func(styles Styles, width int) []string

// Terminal has the terminal to itself: the lines that Lines shows, and below them a
// panel. What was said stays on the terminal afterwards. Use NewTerminal.
type Terminal struct {
	out      *os.File
	program  *tea.Program
	backdrop *backdrop
	ended    chan struct{}
	err      error // once ended
}

// NewTerminal takes over the terminal until Close. end is called on Ctrl-C, with
// [program.ErrInterrupted], and when the terminal fails; pressed with the name of
// each other key.
func NewTerminal(out *os.File, end context.CancelCauseFunc, pressed func(key string)) *Terminal {
	t := &Terminal{out: out, backdrop: &backdrop{styles: NewStyles()}, ended: make(chan struct{})}
	opts := []tea.ProgramOption{tea.WithOutput(out), tea.WithoutSignalHandler()}
	if !Interactive(os.Stdin) {
		opts = append(opts, tea.WithInput(nil))
	}
	t.program = tea.NewProgram(&model{backdrop: t.backdrop, width: Width(out), end: end, pressed: pressed}, opts...)
	go func() { // ends with Close
		defer close(t.ended)
		if _, t.err = t.program.Run(); t.err != nil {
			end(t.err)
		}
	}()
	return t
}

// Title introduces what follows. The panel disappears.
func (t *Terminal) Title(text string) { t.backdrop.add(line{text: text, title: true}) }

// Say tells what happened at a time.
func (t *Terminal) Say(at time.Duration, text string) { t.backdrop.add(line{at: at, text: text}) }

// Show replaces the panel.
func (t *Terminal) Show(p Panel) { t.backdrop.show(p) }

// Close gives the terminal back, with what was said on it.
func (t *Terminal) Close() error {
	t.program.Quit()
	<-t.ended
	for _, text := range t.backdrop.transcript(Width(t.out)) {
		if _, err := fmt.Fprintln(t.out, text); err != nil {
			return err
		}
	}
	return t.err
}

// line is one that was said, or a title.
type line struct {
	at    time.Duration
	text  string
	title bool
}

// backdrop is what there is to draw.
type backdrop struct {
	styles Styles

	mu    sync.Mutex
	lines []line
	panel Panel // nil if there is none
}

func (b *backdrop) add(l line) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, l)
	if l.title {
		b.panel = nil
	}
}

func (b *backdrop) show(p Panel) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.panel = p
}

// draw returns the lines of the panel.
func (b *backdrop) draw(width int) []string {
	b.mu.Lock()
	p := b.panel
	b.mu.Unlock()
	if p == nil {
		return nil
	}
	return p(b.styles, width)
}

// transcript returns what was said, as the lines of a screen.
func (b *backdrop) transcript(width int) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, l := range b.lines {
		if l.title {
			out = append(out, "", b.styles.Title.Render(Wrap(l.text, width)))
			continue
		}
		out = append(out, strings.Split(At(l.at, l.text, width), "\n")...)
	}
	return out
}

// model is the program on the terminal.
type model struct {
	*backdrop

	width, height int
	end           context.CancelCauseFunc
	pressed       func(key string)
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
		if k := msg.String(); k == "ctrl+c" {
			m.end(program.ErrInterrupted)
		} else {
			m.pressed(k)
		}
	}
	return m, nil
}

// View draws the latest of what was said, and the panel.
func (m *model) View() tea.View {
	lines := m.transcript(m.width)
	below := m.draw(m.width)
	room := max(m.height-len(below), 0)
	lines = append(lines[max(len(lines)-room, 0):], below...)
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	return v
}
