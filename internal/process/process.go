package process

import (
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
	// endPatience is how long is waited for the end of a child that cannot be reached, to
	// say how it ended.
	endPatience = 5 * time.Second
)

// Process is a child. Use Start.
type Process struct {
	name string
	cmd  *exec.Cmd
	gone chan struct{} // closed when all that it said has been passed on

	end string // how it ended, once gone is closed

	mu     sync.Mutex // serialises writes to, and the closing of, in
	in     io.WriteCloser
	expect end
}

// end is how a child may end without that being a failure.
type end int

const (
	noEnd     end = iota // it was not told to end
	goodOrder            // it was told to, and exits with status 0
	byKill               // it was killed; or it was faster, and exits with status 0
)

// Start runs this program again in a role, see [Main], and tells it its job, as JSON.
// Each line that it reports goes to emit, and last of all how it ended to exited: the
// empty string if it was killed with [Process.Kill], or was told to end and did so in good
// order; otherwise a sentence, with what it left on its standard error. Both are called by
// one goroutine. When Start fails there is no child. One that ends before it has read its
// job is not a failure of Start: exited tells.
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
	var stderr excerpt
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
	if err := p.send(string(line)); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, os.ErrClosed) {
		err = errors.Join(fmt.Errorf("%s: %w", name, err), p.Kill())
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

// wait waits for the end of the process, notes it, and says what is wrong with it.
func (p *Process) wait(stderr *excerpt) (detail string) {
	err := p.cmd.Wait()
	p.mu.Lock()
	expect := p.expect
	p.mu.Unlock()
	switch {
	case err != nil:
		p.end = strings.TrimSpace(fmt.Sprintf("%s ended: %v %s", p.name, err, stderr))
	case expect == noEnd:
		p.end = p.name + " ended by itself"
	default:
		p.end = p.name + " ended in good order"
	}
	if expect == byKill && wasKilled(p.cmd.ProcessState) || expect != noEnd && err == nil {
		return ""
	}
	return p.end
}

// excerptSize is how much is kept of the beginning of a text, and of its end.
const excerptSize = 1 << 10

// excerpt keeps the first and the last of what is written: a panic of Go begins with what
// it is about, and most programs say last why they end.
type excerpt struct {
	first, last []byte
	left        int // how much was left out between them
}

// Write never fails.
func (e *excerpt) Write(b []byte) (int, error) {
	n := min(len(b), excerptSize-len(e.first))
	e.first, e.last = append(e.first, b[:n]...), append(e.last, b[n:]...)
	if over := len(e.last) - excerptSize; over > 0 {
		e.left += over
		e.last = append(e.last[:0], e.last[over:]...)
	}
	return len(b), nil
}

// String returns what was kept.
func (e *excerpt) String() string {
	if e.left == 0 {
		return string(e.first) + string(e.last)
	}
	return fmt.Sprintf("%s\n... %d bytes ...\n%s", e.first, e.left, e.last)
}

// Name returns what the child is called.
func (p *Process) Name() string { return p.name }

// PID returns its process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Send writes one line to the child. If that has ended, the error of this method and of
// [Process.Pause] and [Process.Resume] says how.
func (p *Process) Send(line string) error {
	if err := p.send(line); err != nil {
		return p.failed(err)
	}
	return nil
}

func (p *Process) send(line string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := io.WriteString(p.in, line+"\n")
	return err
}

// failed is the error of what could not be done to the child: its end, if that is why.
func (p *Process) failed(err error) error {
	t := time.NewTimer(endPatience)
	defer t.Stop()
	select {
	case <-p.gone:
		return errors.New(p.end)
	case <-t.C:
		return fmt.Errorf("%s: %w", p.name, err)
	}
}

// Pause stops the child with SIGSTOP, and returns when it has stopped, as far as the
// system tells. Until then nothing would wake it if its parent were killed, see attributes.
func (p *Process) Pause(ctx context.Context) error {
	if err := pause(p.cmd.Process); err != nil {
		return p.failed(err)
	}
	for {
		if done, err := stopped(p.cmd.Process); err != nil {
			return p.failed(err)
		} else if done {
			return nil
		}
		select {
		case <-time.After(statePoll):
		case <-p.gone:
			return errors.New(p.end)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Resume continues a child that is stopped.
func (p *Process) Resume() error {
	if err := resume(p.cmd.Process); err != nil {
		return p.failed(err)
	}
	return nil
}

// Kill ends the child at once, stopped or not.
func (p *Process) Kill() error {
	p.mu.Lock()
	p.expect = byKill
	p.mu.Unlock()
	return p.kill()
}

func (p *Process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// Terminate tells the child to end as service managers do, with SIGTERM, and does not
// wait.
func (p *Process) Terminate() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expect = max(p.expect, goodOrder)
	if err := terminate(p); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// Ask asks the child to end in good order, waking it if it is stopped. It does not wait.
func (p *Process) Ask() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expect = max(p.expect, goodOrder)
	// Both fail if it is gone already, which is what is wanted.
	_ = p.in.Close()
	_ = resume(p.cmd.Process)
}

// Quit asks the child to end, see [Process.Ask], and kills it if it has not ended soon after
// [Grace], which is not good order either. It returns when the child is gone.
func (p *Process) Quit() error {
	p.Ask()
	t := time.NewTimer(Grace + endPatience) // a child that can ends by itself, and says so
	defer t.Stop()
	select {
	case <-p.gone:
		return nil
	case <-t.C:
	}
	err := p.kill()
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
