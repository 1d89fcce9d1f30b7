package main

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
	"time"

	"github.com/conclave-go/conclave/internal/netfault"
)

// process is a worker as its parent sees it.
type process struct {
	job    job
	proxy  *netfault.Proxy // before etcd, if the worker is not to be stopped
	cmd    *exec.Cmd
	end    context.CancelFunc // nil until it was started
	in     io.WriteCloser
	out    *json.Decoder
	stderr bytes.Buffer
}

// start runs this program as a worker, which is asked to go at the end of ctx.
func (p *process) start(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	p.cmd = exec.CommandContext(ctx, program)
	p.cmd.Env = append(os.Environ(), workerVariable+"=1")
	p.cmd.SysProcAttr = workerAttributes()
	p.cmd.Stderr = &p.stderr
	p.cmd.Cancel = p.quit
	p.cmd.WaitDelay = closeTimeout + time.Second // then it is killed
	p.in, err = p.cmd.StdinPipe()
	out, outErr := p.cmd.StdoutPipe()
	if err := errors.Join(err, outErr); err != nil {
		end()
		return err
	}
	if err := p.cmd.Start(); err != nil {
		end()
		return err
	}
	p.end, p.out = end, json.NewDecoder(out)
	return json.NewEncoder(p.in).Encode(p.job)
}

// quit lets the worker end in good order, with an exit code as if by itself.
func (p *process) quit() error {
	// Both fail if it is gone already, which is what is wanted.
	_ = p.in.Close()
	_ = p.resume()
	return os.ErrProcessDone
}

// await returns what the worker reports next, which has to be of that kind.
func (p *process) await(k kind) (e event, err error) {
	if err := p.out.Decode(&e); err != nil {
		return e, fmt.Errorf("%s has not %s: %w", p.job.Worker, k, err)
	}
	if e.Kind != k {
		return e, fmt.Errorf("%s has %s, not %s", p.job.Worker, e.Kind, k)
	}
	return e, nil
}

// goOn lets the worker write.
func (p *process) goOn() error {
	_, err := io.WriteString(p.in, "\n")
	return err
}

// stop keeps the worker from renewing its lease.
func (p *process) stop() error {
	if p.proxy == nil {
		return stopProcess(p.cmd.Process)
	}
	p.proxy.Blackhole()
	return nil
}

// stopped says what stop did.
func (p *process) stopped() string {
	if p.proxy == nil {
		return "stopped (SIGSTOP)"
	}
	return "cut off from etcd, and waits"
}

func (p *process) resume() error {
	if p.proxy == nil {
		return resumeProcess(p.cmd.Process)
	}
	p.proxy.Heal()
	return nil
}

// close ends the worker, if it was started, and waits for it.
func (p *process) close() (err error) {
	if p.end != nil {
		p.end()
		if err = p.cmd.Wait(); err != nil {
			err = fmt.Errorf("%s: %w: %s", p.job.Worker, err, strings.TrimSpace(p.stderr.String()))
		}
	}
	if p.proxy != nil {
		err = errors.Join(err, p.proxy.Close())
	}
	return err
}
