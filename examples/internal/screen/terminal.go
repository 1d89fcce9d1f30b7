package screen

import (
	"context"
	"errors"
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

// Terminal has the terminal to itself: the lines that are written to it, and below them a
// panel. The lines stay on the terminal afterwards. Use NewTerminal.
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

// Write adds lines, which may be styled. It does not fail.
func (t *Terminal) Write(text []byte) (int, error) {
	t.backdrop.mu.Lock()
	defer t.backdrop.mu.Unlock()
	t.backdrop.said = append(t.backdrop.said, text...)
	return len(text), nil
}

// Show replaces the panel.
func (t *Terminal) Show(p Panel) {
	t.backdrop.mu.Lock()
	defer t.backdrop.mu.Unlock()
	t.backdrop.panel = p
}

// Close gives the terminal back, with what was said on it.
func (t *Terminal) Close() error {
	t.program.Quit()
	<-t.ended
	_, err := t.out.Write(t.backdrop.said)
	return errors.Join(t.err, err)
}

// backdrop is what there is to draw.
type backdrop struct {
	styles Styles

	mu    sync.Mutex
	said  []byte
	panel Panel // nil if there is none
}

// draw returns the latest of what was said, and below it the panel.
func (b *backdrop) draw(width, height int) (lines []string) {
	b.mu.Lock()
	said, panel := string(b.said), b.panel
	b.mu.Unlock()
	if panel != nil {
		lines = panel(b.styles, width)
	}
	above := Cut(strings.Split(strings.TrimSuffix(said, "\n"), "\n"), width)
	room := max(height-len(lines), 0)
	return append(above[max(len(above)-room, 0):], lines...)
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

// View draws all there is to see.
func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.draw(m.width, m.height), "\n"))
	v.AltScreen = true
	return v
}
