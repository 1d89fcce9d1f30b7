package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/conclave-go/conclave/cmd/conclave/internal/guard"
	"github.com/conclave-go/conclave/lease"
)

// registerOptions are the flags of register.
type registerOptions struct {
	runOptions
	holdOptions

	takeover      bool
	readyCmd      string
	readyInterval time.Duration
	readyTimeout  time.Duration
}

func (a *app) registerCommand() *cobra.Command {
	o := &registerOptions{}
	cmd := &cobra.Command{
		Use:   "register KEY VALUE [flags] [-- COMMAND [ARG...]]",
		Short: "Keep a key in etcd for as long as a command runs",
		Long: `register puts KEY with VALUE under a lease, runs COMMAND, and removes KEY when COMMAND has ended. If the lease is lost or somebody
deletes KEY, KEY is put again, and COMMAND keeps running.

If KEY already exists under another lease, the exit code is 75 and COMMAND is not run; --takeover replaces it, once. Whoever had it
before then ends with 76, and does not take it back.

With --ready-cmd, KEY exists only while that line, run by sh every --ready-interval, succeeds. Without COMMAND, KEY stays until
register is stopped, just as lock holds.`,
		Example: `  conclave register services/api/$(hostname) 10.0.0.7:8080 --ready-cmd 'curl -fs localhost:8080/ready' -- ./api`,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, command := split(cmd, args)
			return a.register(cmd.Context(), o, names, command)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&o.readyCmd, "ready-cmd", "", "`line` for sh: the key exists while it succeeds")
	fs.DurationVar(&o.readyInterval, "ready-interval", time.Second, "pause before --ready-cmd is run again")
	fs.DurationVar(&o.readyTimeout, "ready-timeout", 5*time.Second, "--ready-cmd fails if it takes longer")
	fs.BoolVar(&o.takeover, "takeover", false, "replace a key that has another lease")
	o.registerTTL(fs, "how long the key stays after a crash")
	o.holdOptions.register(fs)
	return cmd
}

func (a *app) register(ctx context.Context, o *registerOptions, args, command []string) error {
	switch {
	case len(args) != 2:
		return usagef("register: %d arguments before \"--\": must be KEY and VALUE", len(args))
	case args[0] == "":
		return usagef("register: KEY %q: must not be empty", args[0])
	case o.readyInterval <= 0 || o.readyTimeout <= 0:
		return usagef("register: --ready-interval %s, --ready-timeout %s: must be more than 0", o.readyInterval, o.readyTimeout)
	}
	if err := errors.Join(o.check(), o.checkHold(command)); err != nil {
		return err
	}
	work, err := a.newWork(&o.runOptions, command)
	if err != nil {
		return err
	}
	return a.withSession(ctx, &o.runOptions, func(ctx context.Context, s *lease.Session, _ <-chan struct{}) error {
		ttl, err := o.granted(ctx, s)
		if err != nil {
			return err
		}
		ctx, end := a.attended(ctx, work, &o.holdOptions)
		defer end()
		return a.registered(ctx, work, o, &registrar{app: a, session: s, options: o, key: args[0], value: args[1]}, ttl)
	})
}

// registered runs a command, or just stays, beside a registrar.
func (a *app) registered(ctx context.Context, work *work, o *registerOptions, r *registrar, ttl time.Duration) error {
	if o.readyCmd == "" {
		if err := r.putFirst(ctx); err != nil {
			return interrupted(ctx, err)
		}
	}
	refused, refuse := context.WithCancelCause(context.WithoutCancel(ctx))
	defer refuse(nil)
	first, done := make(chan struct{}), make(chan struct{})
	keep, stop := context.WithCancel(refused)
	go func() { // ends with keep, or when the key is refused
		defer close(done)
		if err := r.run(keep, first); err != nil {
			refuse(err)
		}
	}()
	end := func() { stop(); <-done }
	defer end()
	if work.path == "" {
		select {
		case <-first:
		case <-refused.Done():
			return context.Cause(refused)
		case <-ctx.Done():
			return interrupted(ctx, nil)
		}
	}
	err := a.under(ctx, work, &o.holdOptions, &tenure{
		what: fmt.Sprintf("registration %q", r.key), names: []string{r.key}, lease: leash{refused}, ttl: ttl, key: r.key,
		release: func(context.Context) error { end(); return nil },
		cause:   func() error { return context.Cause(refused) },
	})
	if cause := context.Cause(refused); cause != nil {
		return cause
	}
	return err
}

// leash ends a command whose key is refused. It has no deadline.
type leash struct{ refused context.Context } //nolint:containedctx // it is what Context returns

// Remaining is forever.
func (leash) Remaining() time.Duration { return guard.Forever }

// Context is done when the key is refused.
func (l leash) Context() context.Context { return l.refused }

// registrar keeps a key in place while the program is ready.
type registrar struct {
	app        *app
	session    *lease.Session
	options    *registerOptions
	key, value string
	current    *lease.Registration // nil once its removal is confirmed
	had        bool                // the key has been in place
	leaving    bool                // current is being removed
	trouble    string              // what was noted last
}

// run puts the key whenever it should be there until ctx ends, and closes first when it is for the first time.
// It fails when somebody else has the key. Whatever else goes wrong is tried again with the next round: the command
// goes on.
func (r *registrar) run(ctx context.Context, first chan<- struct{}) error {
	defer func() { _ = r.remove(ctx) }() // the session's end removes what is left
	for tick := time.NewTimer(0); ; tick.Reset(r.options.readyInterval) {
		select {
		case <-ctx.Done():
			tick.Stop()
			return nil
		case <-tick.C:
		}
		err := r.settle(ctx)
		if ctx.Err() != nil {
			continue
		}
		if err := r.note(err); err != nil {
			return err
		}
		if r.current != nil && first != nil {
			close(first)
			first = nil
		}
	}
}

// note returns an error that says that somebody else has the key. Of others it tells, once.
func (r *registrar) note(err error) error {
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != r.trouble {
		r.app.note("registration %q: tried again: %v", r.key, err)
	}
	r.trouble = text
	return nil
}

// settle puts the key or removes it, whichever it should be.
func (r *registrar) settle(ctx context.Context) error {
	ready := r.ready(ctx)
	if err := r.replaced(); err != nil { // a removal would forget it
		return err
	}
	if r.leaving || !ready {
		if err := r.remove(ctx); err != nil {
			return err
		}
	}
	if !ready || r.current != nil {
		return nil
	}
	return r.put(ctx)
}

// replaced returns an error if somebody else has the key that was in place.
func (r *registrar) replaced() error {
	if r.current == nil {
		return nil
	}
	if _, ok := errors.AsType[*lease.TakenError](r.current.Err()); ok {
		return &exitError{code: exitLost, err: fmt.Errorf("registration %q: was taken over: %w", r.key, r.current.Err())}
	}
	return nil
}

// put takes over only the first time: two that did so whenever they are ready would replace each other for ever.
func (r *registrar) put(ctx context.Context) error {
	var opts []lease.RegisterOption
	if r.options.takeover && !r.had {
		opts = append(opts, lease.WithTakeover())
	}
	current, err := lease.Register(ctx, r.session, r.key, r.value, opts...)
	if taken, ok := errors.AsType[*lease.TakenError](err); ok {
		return r.refusal(taken)
	}
	if err == nil {
		r.current, r.had = current, true
	}
	return err
}

// refusal is the error if somebody else has the key that is to be put.
func (r *registrar) refusal(taken *lease.TakenError) error {
	if r.had {
		return &exitError{code: exitLost, err: fmt.Errorf("registration %q: was taken over while it was not ready: %w", r.key, taken)}
	}
	return &exitError{code: exitNotObtained, err: fmt.Errorf("registration %q: exists, with value %q, under lease %x: ends with that lease, or is replaced with --takeover",
		r.key, taken.Value, int64(taken.Lease))}
}

// putFirst puts the key before anything runs, which etcd has to answer in time.
func (r *registrar) putFirst(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.app.etcd.commandTimeout)
	defer cancel()
	return r.put(ctx)
}

// remove removes the key if it is there. A removal that was not confirmed goes on, and can be waited for again.
func (r *registrar) remove(ctx context.Context) error {
	if r.current == nil {
		return nil
	}
	r.leaving = true
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.app.etcd.commandTimeout)
	defer cancel()
	if err := r.current.Close(closing); err != nil {
		return err
	}
	r.current, r.leaving = nil, false
	return nil
}

// ready runs the line that says so.
func (r *registrar) ready(ctx context.Context) bool {
	if r.options.readyCmd == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, r.options.readyTimeout)
	defer cancel()
	cmd := wholeShell(ctx, r.options.readyCmd)
	cmd.Env, cmd.Stderr = environment(), os.Stderr
	err := runWhole(ctx, cmd)
	if errors.Is(err, errImmortal) {
		r.app.note("--ready-cmd %q: %v", r.options.readyCmd, err)
	}
	return err == nil
}
