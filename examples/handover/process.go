package main

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

// process is a worker as its parent sees it.
type process struct {
	name string
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has been waited for

	mu    sync.Mutex // serialises writes to, and the closing of, in
	in    io.WriteCloser
	asked bool // to go
}

// startProcess runs this program as a worker. Its events, and last of all its exit,
// go to emit, which is called by one goroutine.
func startProcess(j job, emit func(event)) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), workerVariable+"=1")
	cmd.SysProcAttr = workerAttributes()
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
	p := &process{name: j.Worker, cmd: cmd, in: in, gone: make(chan struct{})}
	go p.read(out, &stderr, emit) // ends with the process
	line, err := json.Marshal(j)
	if err != nil {
		return nil, errors.Join(err, p.kill())
	}
	return p, p.send(string(line))
}

// send writes one line to the worker.
func (p *process) send(line string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// read passes on what the worker reports until it is gone.
func (p *process) read(out io.Reader, stderr *bytes.Buffer, emit func(event)) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err == nil {
			emit(e)
		}
	}
	err := p.cmd.Wait()
	close(p.gone)
	e := event{At: now(), Worker: p.name, Kind: exited}
	if !p.wasAsked() {
		e.Detail = strings.TrimSpace(fmt.Sprintf("%v %s", err, lastLines(stderr.String())))
	}
	emit(e)
}

// lastLines keeps what fits in a message of what a dead worker left behind.
func lastLines(s string) string {
	const most = 400
	if len(s) > most {
		s = s[len(s)-most:]
	}
	return s
}

func (p *process) wasAsked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// quit asks the worker to end in good order, waking it if it is stopped.
func (p *process) quit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
	// Both fail if it is gone already, which is what is wanted.
	_ = p.in.Close()
	_ = resumeProcess(p.cmd.Process)
}

// kill ends the worker at once, stopped or not.
func (p *process) kill() error {
	p.mu.Lock()
	p.asked = true
	p.mu.Unlock()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

func (p *process) pause() error  { return pauseProcess(p.cmd.Process) }
func (p *process) resume() error { return resumeProcess(p.cmd.Process) }
