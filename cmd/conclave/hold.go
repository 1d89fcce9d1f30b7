package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/conclave-go/conclave/cmd/conclave/internal/guard"
)

// holdOptions are the flags of holding something without a command.
type holdOptions struct {
	printEnv bool
	fd       int
	output   string

	told *os.File // that of fd, without a command
}

func (o *holdOptions) register(fs *pflag.FlagSet) {
	fs.BoolVar(&o.printEnv, "print-env", false, "without a command: print one line for a shell's eval, \"export CONCLAVE_NAME=…\"")
	fs.IntVar(&o.fd, "fd", 1, "without a command: print to this file descriptor, and hold until its reader is gone")
	fs.StringVarP(&o.output, "output", "o", "", "without a command: output `format`, json")
}

// checkHold refuses what does not go together.
func (o *holdOptions) checkHold(command []string) error {
	switch {
	case len(command) > 0 && (o.printEnv || o.fd != 1 || o.output != ""):
		return usagef("--print-env, --fd and -o are without a command; a command has CONCLAVE_* variables")
	case o.printEnv && o.output != "":
		return usagef("--print-env and -o %s: must be at most one of them", o.output)
	case o.output != "" && o.output != "json":
		return usagef("-o %q: must be json", o.output)
	case !guard.Inherited(o.fd): // anything else would be a file of conclave's own
		return usagef("--fd %d: must be a file descriptor that the caller has opened", o.fd)
	}
	return nil
}

// held is what is printed with -o json.
type held struct {
	Event    string     `json:"event"` // held, or lost
	Names    []string   `json:"names"`
	Key      string     `json:"key,omitempty"`
	Token    string     `json:"token,omitempty"`
	Deadline *time.Time `json:"deadline,omitempty"`
	TTL      float64    `json:"ttl,omitempty"` // seconds
	Error    string     `json:"error,omitempty"`
}

// line is what is printed once something is held.
func (o *holdOptions) line(t *tenure) (string, error) {
	switch {
	case o.printEnv:
		var vars []string
		for _, v := range t.env() {
			name, value, _ := strings.Cut(v, "=")
			vars = append(vars, name+"='"+strings.ReplaceAll(value, "'", `'\''`)+"'")
		}
		return "export " + strings.Join(vars, " "), nil
	case o.output == "json":
		said := held{Event: "held", Names: t.names, Key: t.key, Token: t.token, TTL: t.ttl.Seconds()}
		if deadline, ok := t.deadline(); ok {
			said.Deadline = &deadline
		}
		return marshal(said)
	default:
		return strings.TrimSpace(t.token + " " + t.key), nil
	}
}

// marshal is JSON on one line.
func marshal(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}

// hold prints what is held and waits until that is over.
func (a *app) hold(ctx context.Context, w *work, o *holdOptions, t *tenure) error {
	line, err := o.line(t)
	if err != nil {
		return err
	}
	out := a.out
	if o.fd != 1 {
		out = o.told
	}
	_, err = fmt.Fprintln(out, line)
	switch {
	case errors.Is(err, syscall.EPIPE):
		return interruption{syscall.SIGPIPE}
	case err != nil:
		return err
	}
	return a.stay(ctx, w, o, t, out)
}

// attended returns a context that ends, as by SIGPIPE, when those are not there any more for whom something is held
// without a command, or waited for.
func (a *app) attended(ctx context.Context, w *work, o *holdOptions) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	end := func() { cancel(nil) }
	if w.path != "" {
		return ctx, end
	}
	o.told = os.Stdout
	if o.fd != 1 {
		o.told = os.NewFile(uintptr(o.fd), "--fd")
	}
	var reader, writer <-chan struct{}
	if pipe(o.told) {
		reader = hungUp(o.told, ctx.Done())
	}
	if pipe(a.in) {
		writer = closed(a.in, ctx.Done())
	}
	go func() { // ends with ctx at the latest
		select {
		case <-reader:
		case <-writer:
		case <-ctx.Done():
		}
		cancel(interruption{syscall.SIGPIPE})
	}()
	return ctx, end
}

// stay waits for the end of the wish to hold, or of the tenure. Whoever uses the lock is warned
// by --on-lost as early as a command would be.
func (a *app) stay(ctx context.Context, w *work, o *holdOptions, t *tenure, out io.Writer) error {
	stop := a.heedHolderRequests(ctx, w, t)
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	alarm := a.newAlarm(ctx, w, t)
	defer alarm.end(ctx, w.killBefore(t.ttl))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.lease.Context().Done():
			alarm.lost = true
			alarm.give()
			return a.gone(o, t, out)
		case <-timer.C:
		case <-t.renewed:
		}
		left := t.lease.Remaining() - w.killBefore(t.ttl)
		if left <= 0 {
			alarm.give()
		} else {
			alarm.given = false
		}
		timer.Reset(min(time.Hour, max(left, 100*time.Millisecond)))
	}
}

// alarm is the line of --on-lost for whoever holds without a command. It is run beside the wait, which has to notice what
// else happens.
type alarm struct {
	run   func()             // runs the line, nil if there is none
	kill  context.CancelFunc // ends it
	given bool               // since the deadline was far away last
	lost  bool               // nothing is held any more
	ended chan struct{}      // closed while it is not running
}

func (a *app) newAlarm(ctx context.Context, w *work, t *tenure) *alarm {
	ctx, kill := context.WithCancel(context.WithoutCancel(ctx))
	v := &alarm{kill: kill, ended: make(chan struct{})}
	close(v.ended)
	if _, line := signalOrLine(w.options.onLost); line != "" {
		v.run = func() {
			if err := runLine(ctx, line, append(environment(), t.env()...)); err != nil {
				a.note("--on-lost %q: %v", line, err)
			}
		}
	}
	return v
}

// give runs the line, once in an outage, and not beside itself: while that of an outage before runs it has to be called
// again.
func (v *alarm) give() {
	if v.given || v.run == nil {
		return
	}
	select {
	case <-v.ended:
	default:
		return
	}
	v.given = true
	ended := make(chan struct{})
	v.ended = ended
	go func() { // ends with the line, at the latest in end
		defer close(ended)
		v.run()
	}()
}

// lastWords is how long a line has that is still running when nobody wants to hold any more. It may have brought that about
// itself, and have something left to do.
const lastWords = time.Second

// afterLoss is how long a line has in any case when nothing is held any more: nobody waits for its end.
const afterLoss = 10 * time.Second

// end waits for a line that is running, for no longer than patience, or than lastWords from when ctx ends, and kills it then.
// After a loss that was not told because another line was running, it is told first.
func (v *alarm) end(ctx context.Context, patience time.Duration) {
	defer func() {
		v.kill()
		<-v.ended
	}()
	if v.lost {
		patience = max(patience, afterLoss)
	}
	over := time.After(patience)
	if !v.await(ctx, over) || !v.lost {
		return
	}
	v.give()
	v.await(ctx, over)
}

// await waits for the line until over, or for lastWords from when ctx ends, and reports whether it has ended.
func (v *alarm) await(ctx context.Context, over <-chan time.Time) bool {
	select {
	case <-v.ended:
		return true
	case <-over:
		return false
	case <-ctx.Done():
	}
	select {
	case <-v.ended:
		return true
	case <-over:
	case <-time.After(lastWords):
	}
	return false
}

// gone tells of a loss.
func (a *app) gone(o *holdOptions, t *tenure, out io.Writer) error {
	if o.output == "json" && !o.printEnv {
		if line, err := marshal(held{Event: "lost", Names: t.names, Error: t.cause().Error()}); err == nil {
			_, _ = fmt.Fprintln(out, line) // the exit code says the same
		}
	}
	return &exitError{code: exitLost, err: fmt.Errorf("%s: %w", t.what, t.cause())}
}

// heedHolderRequests runs the line of --on-request. A signal would be for a command.
func (a *app) heedHolderRequests(ctx context.Context, w *work, t *tenure) (stop func()) {
	signals := make(chan os.Signal, 1)
	return a.heedRequests(ctx, w, t, signals, append(environment(), t.env()...))
}
