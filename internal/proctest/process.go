package proctest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const (
	// roleVariable holds the role and its arguments, as a JSON list.
	roleVariable = "CONCLAVE_PROCTEST_ROLE"
	// guard is how long a process may take to say something.
	guard = time.Minute
	// lines is how many lines a process may print before a test hears them.
	lines = 100
)

// Roles are what a process can be, by name. A role gets the arguments of [Start]; its
// error is printed, and ends the process with status 1.
type Roles map[string]func(args []string) error

// Play runs the role that the process was started for, and exits. In any other process
// it does nothing.
func Play(roles Roles) {
	spec := os.Getenv(roleVariable)
	if spec == "" {
		return
	}
	if err := play(roles, spec); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func play(roles Roles, spec string) error {
	var words []string
	if err := json.Unmarshal([]byte(spec), &words); err != nil {
		return fmt.Errorf("proctest: %s: %w", roleVariable, err)
	}
	role := roles[words[0]]
	if role == nil {
		return fmt.Errorf("proctest: no role %q in this test binary", words[0])
	}
	return role(words[1:])
}

// Process is this test binary in another role.
type Process struct {
	cmd  *exec.Cmd
	in   io.Writer
	said chan string
	// heard is closed when there is nothing more to be heard.
	heard chan struct{}
}

// Start starts this test binary in a role, which its TestMain plays. The process is
// killed at the test's end at the latest.
func Start(tb testing.TB, role string, args ...string) *Process {
	tb.Helper()
	p, err := start(append([]string{role}, args...))
	if err != nil {
		tb.Fatalf("proctest: starting a %s: %v", role, err)
	}
	tb.Cleanup(p.end)
	return p
}

func start(words []string) (*Process, error) {
	spec, err := json.Marshal(words)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+string(spec))
	cmd.Stderr = os.Stderr
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
	p := &Process{cmd: cmd, in: in, said: make(chan string, lines), heard: make(chan struct{})}
	go p.hear(out)
	return p, nil
}

// hear ends with the process, which closes out.
func (p *Process) hear(out io.Reader) {
	defer close(p.heard)
	for in := bufio.NewScanner(out); in.Scan(); {
		select {
		case p.said <- in.Text():
		default: // nobody wants to hear it
		}
	}
}

// Tell sends a line to the process' standard input.
func (p *Process) Tell(tb testing.TB, line string) {
	tb.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		tb.Fatalf("proctest: telling %q: %v", line, err)
	}
}

// Says returns the next line that the process prints, which has to begin with words.
func (p *Process) Says(tb testing.TB, words string) string {
	tb.Helper()
	timer := time.NewTimer(guard)
	defer timer.Stop()
	select {
	case line := <-p.said:
		if !strings.HasPrefix(line, words) {
			tb.Fatalf("proctest: the process says %q, not %q", line, words)
		}
		return line
	case <-timer.C:
		tb.Fatalf("proctest: the process does not say %q", words)
	}
	return ""
}

// Kill ends the process without a chance to do anything, and waits for its end.
func (p *Process) Kill(tb testing.TB) {
	tb.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		tb.Fatalf("proctest: killing: %v", err)
	}
	<-p.heard
}

// end makes sure that nothing is left of the process.
func (p *Process) end() {
	_ = p.cmd.Process.Kill() // works on a stopped process, too
	<-p.heard
	_ = p.cmd.Wait() // "signal: killed"
}
