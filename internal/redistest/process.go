package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
)

const (
	binary = "redis-server"
	// ready is in what a server prints once it answers.
	ready = "Ready to accept connections"
	// startTries is how many ports are tried: another process may take one first.
	startTries = 20
	// Ports below the ephemeral ranges of Linux (32768) and macOS (49152): the kernel
	// gives them to nobody by itself, so that a killed node can come back to its own.
	firstPort = 12_000
	lastPort  = 20_000
)

// errPortTaken says that the server could not bind.
var errPortTaken = errors.New("the port is taken")

// process is a redis-server in a directory of its own.
type process struct {
	cfg     config
	address string
	dir     string

	mu     sync.Mutex
	cmd    *exec.Cmd // nil while it is down
	output sync.WaitGroup
}

func startProcess(ctx context.Context, cfg config) (*process, error) {
	dir, err := os.MkdirTemp("", "redistest-")
	if err != nil {
		return nil, err
	}
	for range startTries {
		p := &process{cfg: cfg, dir: dir, address: anAddress()}
		if err = p.restart(ctx); !errors.Is(err, errPortTaken) {
			if err == nil {
				return p, nil
			}
			break
		}
	}
	return nil, errors.Join(err, os.RemoveAll(dir))
}

// anAddress returns an address that is probably free.
func anAddress() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort)))
}

func (p *process) addr() string { return p.address }

func (p *process) restart(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	appendOnly := "no"
	if p.cfg.appendOnly {
		appendOnly = "yes"
	}
	host, port, err := net.SplitHostPort(p.address)
	if err != nil {
		return err
	}
	cmd := exec.Command(binary, "--port", port, "--bind", host, "--dir", p.dir,
		"--save", "", "--appendonly", appendOnly, "--daemonize", "no", "--loglevel", "notice")
	dieWithParent(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", binary, err)
	}
	p.cmd = cmd
	started := make(chan error, 1)
	p.output.Go(func() { watch(out, started) })
	select {
	case err = <-started:
	case <-ctx.Done():
		err = fmt.Errorf("starting %s: %w", binary, context.Cause(ctx))
	}
	if err != nil {
		return errors.Join(err, p.end())
	}
	return nil
}

// watch reads what the server prints until it ends, and tells whether it got ready.
func watch(out io.Reader, started chan<- error) {
	var last string
	taken := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last = lines.Text()
		taken = taken || strings.Contains(last, "Address already in use")
		if strings.Contains(last, ready) {
			started <- nil
			_, _ = io.Copy(io.Discard, out) // to its end; the reason does not matter
			return
		}
	}
	err := fmt.Errorf("%s ended: %s", binary, last)
	if taken {
		err = fmt.Errorf("%w: %w", errPortTaken, err)
	}
	started <- err
}

func (p *process) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end()
}

// end kills the server, if it is up, and waits for it. mu must be held.
func (p *process) end() error {
	if p.cmd == nil {
		return nil
	}
	cmd := p.cmd
	p.cmd = nil
	err := cmd.Process.Kill() // works on a stopped process, too
	p.output.Wait()           // before Wait, which closes the pipe
	_ = cmd.Wait()            // "signal: killed"
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// remove deletes the directory.
func (p *process) remove() error { return os.RemoveAll(p.dir) }

// running returns the process, for signals.
func (p *process) running() (*os.Process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil, errors.New("redistest: the node is down")
	}
	return p.cmd.Process, nil
}
