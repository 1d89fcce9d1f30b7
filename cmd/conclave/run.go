package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/conclave-go/conclave/cmd/conclave/internal/guard"
	"github.com/conclave-go/conclave/lease"
)

// runOptions are the flags of what runs a command.
type runOptions struct {
	ttl        seconds
	killBefore time.Duration
	onLost     string
	onRequest  string
}

// register adds the flags of what must end before a deadline.
func (o *runOptions) register(fs *pflag.FlagSet) {
	o.registerTTL(fs, "how long others wait after a crash")
	fs.DurationVar(&o.killBefore, "kill-before", 0,
		"how long before the deadline the command gets SIGTERM; SIGKILL comes a third of that before the deadline (default a third of the TTL, at most half of it)")
	fs.StringVar(&o.onLost, "on-lost", "SIGTERM",
		"`signal` that the command gets when the lock is about to be lost, or a command line for sh to run instead, with CONCLAVE_CHILD_PID; SIGKILL follows in any case")
}

func (o *runOptions) registerTTL(fs *pflag.FlagSet, is string) {
	o.ttl = seconds(lease.DefaultTTL)
	fs.Var(&o.ttl, "ttl", is+": whole seconds, 1 to 300, as 10 or 10s")
}

// registerRequest adds the flag of what others can ask for.
func (o *runOptions) registerRequest(fs *pflag.FlagSet) {
	fs.StringVar(&o.onRequest, "on-request", "",
		"`signal` for the command, or a command line for sh, when somebody asks for the lock with \"conclave release\" (default: nothing)")
}

func (o *runOptions) check() error {
	ttl := time.Duration(o.ttl)
	if ttl%time.Second != 0 || ttl < lease.MinTTL || ttl > lease.MaxTTL {
		return usagef("--ttl %s: must be whole seconds, %s to %s", ttl, lease.MinTTL, lease.MaxTTL)
	}
	return o.checkKill(ttl)
}

// shortestKill leaves the kernel time to end processes on a busy machine.
const shortestKill = 100 * time.Millisecond

// checkKill refuses what would end commands while all is well: a renewal is due when a third of the TTL has
// passed, and may take a while.
func (o *runOptions) checkKill(ttl time.Duration) error {
	if o.killBefore != 0 && (o.killBefore < shortestKill || o.killBefore > ttl/2) {
		return usagef("--kill-before %s: must be from %s to half of the TTL, %s", o.killBefore, shortestKill, ttl/2)
	}
	return nil
}

// seconds is a duration that is also read from a plain number, as etcdctl's --ttl.
type seconds time.Duration

// String is that of a duration.
func (s *seconds) String() string { return time.Duration(*s).String() }

// Type is what help calls it.
func (s *seconds) Type() string { return "duration" }

// Set reads "10" or "10s".
func (s *seconds) Set(text string) error {
	if n, err := strconv.Atoi(text); err == nil {
		text = strconv.Itoa(n) + "s"
	}
	d, err := time.ParseDuration(text)
	*s = seconds(d)
	return err
}

// work is a command that is to be run.
type work struct {
	path    string // empty if there is none
	args    []string
	options *runOptions
}

// newWork finds the command, before anything is locked for it.
func (a *app) newWork(o *runOptions, command []string) (*work, error) {
	w := &work{args: command, options: o}
	if len(command) == 0 {
		return w, nil
	}
	var err error
	w.path, err = program(command[0])
	return w, err
}

// tenure is something that is held, under which a command can run.
type tenure struct {
	what      string // for people
	names     []string
	lease     guard.Lease
	ttl       time.Duration
	renewed   <-chan struct{}
	key       string
	token     string
	release   func(context.Context) error
	requested func() <-chan struct{} // nil if nobody can ask
	cause     func() error           // why it is lost, nil if it is not
}

// env is what a command is told.
func (t *tenure) env() []string {
	env := []string{"CONCLAVE_NAME=" + strings.Join(t.names, " "), "CONCLAVE_KEY=" + t.key}
	if t.token != "" {
		env = append(env, "CONCLAVE_TOKEN="+t.token)
	}
	if deadline, ok := t.deadline(); ok {
		env = append(env, "CONCLAVE_DEADLINE="+deadline.Format(time.RFC3339Nano))
	}
	return append(env, "CONCLAVE_TTL="+strconv.FormatFloat(t.ttl.Seconds(), 'f', -1, 64))
}

// deadline is that of the lease as it is now, false if it has none.
func (t *tenure) deadline() (time.Time, bool) {
	left := t.lease.Remaining()
	return time.Now().Add(left), left != guard.Forever
}

// withSession calls fn with a session, and with a context that the first signal ends.
func (a *app) withSession(ctx context.Context, o *runOptions, fn func(context.Context, *lease.Session, <-chan struct{}) error) error {
	ctx, stop := a.untilHeld(ctx)
	defer stop()
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // the session is closed by then
	renewed := make(chan struct{}, 1)
	s, err := a.session(ctx, client, time.Duration(o.ttl), renewed)
	if err != nil {
		return interrupted(ctx, err)
	}
	err = fn(ctx, s, renewed)
	done, cancel := context.WithCancel(ctx)
	cancel() // the session's grace is all the time there is
	if cerr := s.Close(done); cerr != nil && err == nil && !errors.Is(cerr, context.Canceled) {
		a.note("%v", cerr)
	}
	return err
}

// interrupted returns the signal that has ended ctx, and else err.
func interrupted(ctx context.Context, err error) error {
	if stop, ok := errors.AsType[interruption](context.Cause(ctx)); ok {
		return stop
	}
	return err
}

// granted returns the TTL of the session's lease, which the server may have raised, and
// checks the options against it.
func (o *runOptions) granted(ctx context.Context, s *lease.Session) (time.Duration, error) {
	l, err := s.Lease(ctx)
	if err != nil {
		return 0, err
	}
	return l.TTL(), o.checkKill(l.TTL())
}

// under runs a command, or just holds, and gives back what was held.
func (a *app) under(ctx context.Context, w *work, h *holdOptions, t *tenure) error {
	err := interrupted(ctx, nil)
	switch {
	case err != nil:
	case w.path == "":
		err = a.hold(ctx, w, h, t)
	default:
		err = a.execute(ctx, w, t)
	}
	switch rerr := a.giveBack(ctx, t); {
	case rerr == nil || code(err) == exitLost:
	case isLoss(rerr): // which came to light only now
		err = &exitError{code: exitLost, err: fmt.Errorf("%s: was lost before its end: %w", t.what, rerr)}
	default:
		a.note("%s: could not be released, and is free when its lease expires, after %s: %v", t.what, t.ttl, rerr)
	}
	return err
}

// giveBack releases what is held, or returns why it is not. A release that fails otherwise does not change how the
// command ended.
func (a *app) giveBack(ctx context.Context, t *tenure) error {
	switch cause := t.cause(); {
	case isLoss(cause):
		return cause
	case cause != nil: // whoever has refused it says so
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.etcd.commandTimeout)
	defer cancel()
	return t.release(ctx)
}

// execute runs a command under a tenure.
func (a *app) execute(ctx context.Context, w *work, t *tenure) error {
	signals := a.signals
	catch(signals, forwarded())
	defer signal.Stop(signals)
	select {
	case s := <-signals: // it came after the wait
		return interruption{s}
	default:
	}
	env := append(environment(), t.env()...)
	stop := a.heedRequests(ctx, w, t, signals, env)
	defer stop()
	command := guard.Command{Path: w.path, Args: w.args, Env: env, KillBefore: w.killBefore(t.ttl)}
	command.First, command.OnLost = signalOrLine(w.options.onLost)
	result, err := guard.Run(command, t.lease, t.renewed, signals)
	switch {
	case err != nil && !errors.Is(err, guard.ErrGone):
		return err
	case result.Ended:
		return t.lost(w, result, err)
	case result.Code == 0:
		return nil
	}
	return &exitError{code: result.Code, die: fatal(result)}
}

// killBefore is how long before the deadline the command is ended.
func (w *work) killBefore(ttl time.Duration) time.Duration {
	if w.options.killBefore != 0 {
		return w.options.killBefore
	}
	return ttl / 3
}

// fatal is the signal that this program has to die of as the command did: shells look at that when
// somebody has pressed Ctrl-C.
func fatal(r guard.Result) syscall.Signal {
	if s := syscall.Signal(r.Signal); r.Terminal && (s == syscall.SIGINT || s == syscall.SIGQUIT) {
		return s
	}
	return 0
}

// lost is the error after a command was ended, or not even started.
func (t *tenure) lost(w *work, r guard.Result, err error) error {
	became := "ended"
	if r.Unstarted {
		became = "not started"
	}
	why := t.cause()
	switch {
	case err != nil: // the guard is gone
		why = err
	case why == nil:
		why = fmt.Errorf("the lease was not renewed until --kill-before %s ahead of its deadline", w.killBefore(t.ttl))
	}
	return &exitError{code: exitLost, err: fmt.Errorf("%s: the command was %s: %w", t.what, became, why)}
}

// environment is this process's, without what another conclave has told it.
func environment() []string {
	var env []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		switch name {
		case "CONCLAVE_NAME", "CONCLAVE_KEY", "CONCLAVE_TOKEN", "CONCLAVE_DEADLINE", "CONCLAVE_TTL":
		default:
			env = append(env, variable)
		}
	}
	return env
}

// heedRequests does what was chosen when somebody asks for the lock. stop ends a line that still runs.
func (a *app) heedRequests(ctx context.Context, w *work, t *tenure, signals chan<- os.Signal, env []string) (stop func()) {
	if w.options.onRequest == "" || t.requested == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() { // ends when it is asked for, and else with stop
		defer close(done)
		select {
		case <-t.requested():
		case <-ctx.Done():
			return
		}
		if number, line := signalOrLine(w.options.onRequest); line == "" {
			select {
			case signals <- guard.Direct(number):
			case <-ctx.Done(): // the command has ended
			}
		} else if err := runLine(ctx, line, env); err != nil && (ctx.Err() == nil || errors.Is(err, errImmortal)) {
			a.note("--on-request %q: %v", line, err)
		}
	}()
	return func() { cancel(); <-done }
}

// runLine runs a line with sh, until ctx ends.
func runLine(ctx context.Context, line string, env []string) error {
	cmd := wholeShell(ctx, line)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, os.Stderr, os.Stderr
	return runWhole(ctx, cmd)
}

// errImmortal is that of a line which goes on: it belongs to another user, perhaps.
var errImmortal = errors.New("could not be killed, and goes on")

// runWhole runs a line of wholeShell. What cannot be killed when ctx ends is not waited for.
func runWhole(ctx context.Context, cmd *exec.Cmd) error {
	const patience = time.Second
	done := make(chan error, 1)
	go func() { // ends with the line, and what it leaves behind
		err := cmd.Run()
		if cmd.Process == nil {
			done <- err
			return
		}
		if ctx.Err() != nil {
			bury(cmd.Process.Pid)
		}
		done <- err
		outlive(cmd.Process.Pid)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return errImmortal
	}
}
