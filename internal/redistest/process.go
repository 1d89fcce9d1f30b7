package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/conclave-go/conclave/internal/tempdir"
)

const (
	binary = "redis-server"
	// ready is in what a server prints once it answers.
	ready = "Ready to accept connections"
	// watching is in what a Sentinel prints then.
	watching = "+monitor master"
)

// process is a redis-server in a directory of its own.
type process struct {
	cfg     config
	address string
	dir     *tempdir.Dir

	mu     sync.Mutex
	cmd    *exec.Cmd // nil while it is down
	output sync.WaitGroup
}

func startProcess(ctx context.Context, cfg config) (*process, error) {
	dir, err := tempdir.Make("redis")
	if err != nil {
		return nil, err
	}
	p := &process{cfg: cfg, dir: dir}
	p.address, err = onFreePort(func(address string) error {
		p.address = address
		return p.restart(ctx)
	})
	if err != nil {
		return nil, errors.Join(err, dir.Remove())
	}
	return p, nil
}

func (p *process) addr() string { return p.address }

func (p *process) restart(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	args, err := p.arguments()
	if err != nil {
		return err
	}
	cmd := exec.Command(binary, args...)
	if cmd.Env, err = p.environment(); err != nil {
		return err
	}
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

// arguments are those of the server, or of the Sentinel.
func (p *process) arguments() ([]string, error) {
	host, port, err := net.SplitHostPort(p.address)
	if err != nil {
		return nil, err
	}
	if p.cfg.master != "" {
		return p.sentinel(port)
	}
	yesNo := map[bool]string{true: "yes", false: "no"}
	args := []string{
		"--bind", host, "--dir", p.dir.Path(), "--save", "", "--appendonly", yesNo[p.cfg.appendOnly],
		"--cluster-enabled", yesNo[p.cfg.cluster], "--daemonize", "no", "--loglevel", "notice",
		"--repl-diskless-sync-delay", "0",
	}
	if p.cfg.masters > 0 {
		args = append(args, "--cluster-announce-ip", host, "--cluster-node-timeout", "3000")
	}
	if p.cfg.certificate == nil {
		return append(args, "--port", port), nil
	}
	more, err := p.cfg.certificate.arguments(p.dir.Path(), port)
	return append(args, more...), err
}

// watch reads what the server prints until it ends, and tells whether it got ready.
func watch(out io.Reader, started chan<- error) {
	var last string
	taken := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last = lines.Text()
		taken = taken || strings.Contains(last, "Address already in use")
		if strings.Contains(last, ready) || strings.Contains(last, watching) {
			started <- nil
			_, _ = io.Copy(io.Discard, out) // to its end; the reason does not matter
			return
		}
	}
	err := fmt.Errorf("%s ended: %s", binary, last)
	if taken {
		err = fmt.Errorf("%w: %w", syscall.EADDRINUSE, err)
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

// finish kills the server for good.
func (p *process) finish() error {
	err := p.kill()
	releaseAddress(p.address)
	return errors.Join(err, p.dir.Remove())
}

// running returns the process, for signals.
func (p *process) running() (*os.Process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil, errors.New("redistest: the node is down")
	}
	return p.cmd.Process, nil
}
