package workers

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// Process is a worker as its parent sees it. Use Start.
type Process struct {
	name string
	cmd  *exec.Cmd
	gone chan struct{} // closed when all has been passed on

	mu    sync.Mutex // serialises writes to, and the closing of, in
	in    io.WriteCloser
	asked bool // to go
}

// Start runs this program again, with the variable set in its environment, and
// tells it its job, as JSON. What it reports goes to emit, and last of all what
// exited makes of its end: detail says how it ended unless it was asked to. Both are
// called by one goroutine. A Process that comes with an error is to be killed.
func Start[E any](name, variable string, job any, emit func(E), exited func(detail string) E) (*Process, error) {
	line, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), variable+"=1")
	cmd.SysProcAttr = attributes()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{name: name, cmd: cmd, in: in, gone: make(chan struct{})}
	go func() { // ends with the process; Wait waits for it
		defer close(p.gone)
		pass(out, emit)
		emit(exited(p.wait(&stderr)))
	}()
	return p, p.Send(string(line))
}

// pass passes on what the worker reports, to the end.
func pass[E any](out io.Reader, emit func(E)) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e E
		if err := json.Unmarshal(lines.Bytes(), &e); err == nil {
			emit(e)
		}
	}
}

// wait waits for the end of the process and says what there is to say of it.
func (p *Process) wait(stderr *bytes.Buffer) (detail string) {
	err := p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked {
		return ""
	}
	if err == nil {
		return EndedWell
	}
	return strings.TrimSpace(fmt.Sprintf("%v %s", err, lastLines(stderr.String())))
}

// EndedWell is what is said of a worker that has ended by itself, without an error.
const EndedWell = "ended by itself"

// lastLines keeps what fits in a message of what a dead worker left behind.
func lastLines(s string) string {
	const most = 400
	if len(s) > most {
		s = s[len(s)-most:]
	}
	return s
}

// Name returns what the worker is called.
func (p *Process) Name() string { return p.name }

// Send writes one line to the worker.
func (p *Process) Send(line string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// Quit asks the worker to end in good order, waking it if it is stopped.
func (p *Process) Quit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
	// Both fail if it is gone already, which is what is wanted.
	_ = p.in.Close()
	_ = resume(p.cmd.Process)
}

// Kill ends the worker at once, stopped or not.
func (p *Process) Kill() error {
	p.mu.Lock()
	p.asked = true
	p.mu.Unlock()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// Wait waits until the worker is gone and its end passed on.
func (p *Process) Wait() { <-p.gone }

// Pause stops the worker with SIGSTOP. On Linux it returns when the worker has stopped.
func (p *Process) Pause() error { return pause(p.cmd.Process) }

// Resume continues a worker that is stopped.
func (p *Process) Resume() error { return resume(p.cmd.Process) }
