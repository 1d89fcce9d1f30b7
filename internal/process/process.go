package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// grace is [Grace], or less in the processes of a test.
//
//nolint:gochecknoglobals // of the process
var grace = Grace

const (
	// Grace is how long a child may take to end in good order: more than any role needs
	// for that, whether etcd answers or not.
	Grace = 10 * time.Second
	// statePoll is how often is looked whether a process has stopped.
	statePoll = time.Millisecond
)

// Process is a child. Use Start.
type Process struct {
	name string
	cmd  *exec.Cmd
	gone chan struct{} // closed when all that it said has been passed on

	mu         sync.Mutex // serialises writes to, and the closing of, in
	in         io.WriteCloser
	asked      bool // to go
	terminated bool
}

// Start runs this program again in a role, see [Main], and tells it its job, as JSON.
// Each line that it reports goes to emit, and last of all how it ended to exited: the
// empty string if it was told to, and otherwise a sentence, with what it left on its
// standard error. Both are called by one goroutine. When Start fails there is no child. One that
// ends before it has read its job is not a failure of Start: exited tells.
func Start[E any](name, role string, job any, emit func(E), exited func(detail string)) (*Process, error) {
	line, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), Variable+"="+role)
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
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &Process{name: name, cmd: cmd, in: in, gone: make(chan struct{})}
	go func() { // ends with the process; Wait waits for it
		defer close(p.gone)
		pass(out, emit)
		exited(p.wait(&stderr))
	}()
	if err := p.Send(string(line)); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, os.ErrClosed) {
		err = errors.Join(err, p.Kill())
		p.Wait()
		return nil, err
	}
	return p, nil
}

// pass passes on what the child reports, to the end.
func pass[E any](out io.Reader, emit func(E)) {
	for lines := scanner(out); lines.Scan(); {
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
	if p.asked || p.terminated && err == nil {
		return ""
	}
	if err == nil {
		return p.name + " ended by itself"
	}
	const most = 600
	said := stderr.String()
	return strings.TrimSpace(fmt.Sprintf("%s ended: %v %s", p.name, err, said[max(0, len(said)-most):]))
}

// Name returns what the child is called.
func (p *Process) Name() string { return p.name }

// PID returns its process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Send writes one line to the child.
func (p *Process) Send(line string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// Pause stops the child with SIGSTOP, and returns when it has stopped, as far as the
// system tells. Until then nothing would wake it if its parent were killed, see attributes.
func (p *Process) Pause(ctx context.Context) error {
	if err := pause(p.cmd.Process); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	for {
		if done, err := stopped(p.cmd.Process); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		} else if done {
			return nil
		}
		select {
		case <-time.After(statePoll):
		case <-p.gone:
			return fmt.Errorf("%s has ended", p.name)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Resume continues a child that is stopped.
func (p *Process) Resume() error {
	if err := resume(p.cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// Kill ends the child at once, stopped or not.
func (p *Process) Kill() error {
	p.mu.Lock()
	p.asked = true
	p.mu.Unlock()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// Terminate tells the child to end as service managers do, with SIGTERM, and does not
// wait. Unlike with [Process.Ask], one that fails to end in good order is reported.
func (p *Process) Terminate() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.terminated = true
	if err := terminate(p); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// Ask asks the child to end in good order, waking it if it is stopped. It does not wait.
func (p *Process) Ask() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
	// Both fail if it is gone already, which is what is wanted.
	_ = p.in.Close()
	_ = resume(p.cmd.Process)
}

// Quit asks the child to end, see [Process.Ask], and kills it if it has not ended within
// [Grace]. It returns when the child is gone.
func (p *Process) Quit() error {
	p.Ask()
	t := time.NewTimer(Grace)
	defer t.Stop()
	select {
	case <-p.gone:
		return nil
	case <-t.C:
	}
	err := p.Kill()
	p.Wait()
	return err
}

// QuitAll has children end in good order, see [Process.Quit], all at once.
func QuitAll(all ...*Process) error {
	for _, p := range all {
		p.Ask()
	}
	var errs []error
	for _, p := range all {
		errs = append(errs, p.Quit())
	}
	return errors.Join(errs...)
}

// Wait waits until the child is gone and its end passed on.
func (p *Process) Wait() { <-p.gone }
