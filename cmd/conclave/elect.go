package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
)

// electOptions are the flags of elect.
type electOptions struct {
	runOptions
	holdOptions

	wait       time.Duration
	owner      string
	etcdLayout bool
}

func (a *app) electCommand() *cobra.Command {
	o := &electOptions{}
	cmd := &cobra.Command{
		ValidArgsFunction: a.completeNames(1),
		Use:               "elect NAME VALUE [flags] [-- COMMAND [ARG...]]",
		Short:             "Stand for election, and run a command while leading",
		Long: `elect stands for election with VALUE, which observers see, waits to be elected and runs COMMAND until that ends or the
leadership is lost. COMMAND does not outlive the leadership; everything about it, its environment and the exit codes are as for lock.

Without COMMAND, elect prints "TOKEN KEY" once elected, and leads until it is stopped, just as lock holds.`,
		Example: `  conclave elect scheduler "$(hostname)" -- ./scheduler
  conclave observe scheduler`,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, command := split(cmd, args)
			return a.elect(cmd.Context(), o, names, command)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.DurationVar(&o.wait, "wait", 0, "stand for election at most this long, then fail with 75 (default: as long as it takes)")
	o.runOptions.register(fs)
	o.holdOptions.register(fs)
	fs.BoolVar(&o.etcdLayout, "etcd-layout", false, "share the election with \"etcdctl elect\" and clientv3/concurrency")
	fs.StringVar(&o.owner, "owner", "", "what others see as the owner (default host:pid)")
	return cmd
}

func (a *app) elect(ctx context.Context, o *electOptions, args, command []string) error {
	if len(args) != 2 {
		return usagef("elect: %d arguments before \"--\": must be NAME and VALUE", len(args))
	}
	if o.wait < 0 {
		return usagef("elect: --wait %s: must not be negative", o.wait)
	}
	if err := errors.Join(o.check(), o.checkHold(command)); err != nil {
		return err
	}
	work, err := a.newWork(&o.runOptions, command)
	if err != nil {
		return err
	}
	name, value := args[0], args[1]
	return a.withSession(ctx, &o.runOptions, func(ctx context.Context, s *lease.Session, renewed <-chan struct{}) error {
		ttl, err := o.granted(ctx, s)
		if err != nil {
			return err
		}
		ctx, end := a.attended(ctx, work, &o.holdOptions)
		defer end()
		term, err := o.campaign(ctx, s, name, value)
		if err != nil {
			return interrupted(ctx, o.explain(s, name, err))
		}
		return a.under(ctx, work, &o.holdOptions, &tenure{
			what: fmt.Sprintf("election %q", name), names: []string{name}, lease: term, ttl: ttl, renewed: renewed,
			key: term.Key(), token: term.Token().String(), release: term.Resign, cause: term.Err,
		})
	})
}

func (o *electOptions) campaign(ctx context.Context, s *lease.Session, name, value string) (*election.Term, error) {
	var opts []election.Option
	if o.owner != "" {
		opts = append(opts, election.WithOwner(o.owner))
	}
	if o.etcdLayout {
		opts = append(opts, election.WithEtcdLayout())
	}
	e, err := election.New(s, name, opts...)
	if err != nil {
		return nil, usage(err)
	}
	if o.wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.wait)
		defer cancel()
	}
	return e.Campaign(ctx, value)
}

func (o *electOptions) explain(s *lease.Session, name string, err error) error {
	if o.wait > 0 && errors.Is(err, context.DeadlineExceeded) && s.State() == lease.Healthy {
		return &exitError{code: exitNotObtained, err: fmt.Errorf("election: %q: not elected within --wait %s: %w", name, o.wait, err)}
	}
	return err
}

// observeOptions are the flags of observe.
type observeOptions struct {
	exec       string
	once       bool
	etcdLayout bool
	output     format
}

func (a *app) observeCommand() *cobra.Command {
	o := &observeOptions{}
	cmd := &cobra.Command{
		ValidArgsFunction: a.completeNames(1),
		Use:               "observe NAME [flags]",
		Short:             "Show who leads, and every change",
		Long: `observe prints the leader's value, and prints it again whenever the value or the leader changes; an empty line means no leader.
With -o json, each line is an object. It goes on until it is stopped.

--exec runs a line with sh at each change, one at a time, with CONCLAVE_LEADER (the value), CONCLAVE_TOKEN, CONCLAVE_KEY and
CONCLAVE_OWNER in its environment; all are empty when there is no leader. If the line fails, observe ends with its exit code.`,
		Example: `  conclave observe scheduler --exec 'echo "$CONCLAVE_LEADER" > /run/leader'`,
		Args:    argument("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(ctx context.Context, client *clientv3.Client) error {
				return a.observe(ctx, client, o, args[0])
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&o.exec, "exec", "", "`line` that sh runs at each change")
	fs.BoolVar(&o.once, "once", false, "print who leads now and exit, with 75 if nobody does")
	fs.BoolVar(&o.etcdLayout, "etcd-layout", false, "observe an election of \"etcdctl elect\"")
	o.output.register(fs, table, asJSON)
	return cmd
}

// argument wants one, and says what it is.
func argument(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("%s: %d arguments: must be %s", cmd.Name(), len(args), name)
		}
		return nil
	}
}

// leaderJSON is a leader with -o json.
type leaderJSON struct {
	Leader bool   `json:"leader"`
	Value  string `json:"value,omitempty"`
	Owner  string `json:"owner,omitempty"`
	Token  string `json:"token,omitempty"`
	Key    string `json:"key,omitempty"`
}

func (a *app) observe(ctx context.Context, client *clientv3.Client, o *observeOptions, name string) error {
	var opts []election.ReadOption
	if o.etcdLayout {
		opts = append(opts, election.WithEtcdLayout())
	}
	if o.once {
		return a.observeOnce(ctx, client, o, name, opts)
	}
	for leader, err := range election.Observe(ctx, client, name, opts...) {
		if err != nil {
			return interrupted(ctx, err)
		}
		if err := a.leader(ctx, o, leader); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) observeOnce(ctx context.Context, client *clientv3.Client, o *observeOptions, name string, opts []election.ReadOption) error {
	timed, cancel := context.WithTimeout(ctx, a.etcd.commandTimeout)
	defer cancel()
	leader, err := election.Current(timed, client, name, opts...)
	if err != nil {
		return a.etcd.explain(ctx, err)
	}
	if err := a.leader(ctx, o, leader); err != nil {
		return err
	}
	if !leader.Exists() {
		return &exitError{code: exitNotObtained}
	}
	return nil
}

// leader prints who leads, and runs the line.
func (a *app) leader(ctx context.Context, o *observeOptions, l election.Leader) error {
	said := leaderJSON{Leader: l.Exists()}
	if l.Exists() {
		said = leaderJSON{true, l.Value, l.Owner, l.Token.String(), l.Key}
	}
	var err error
	if o.output == asJSON {
		err = a.object(said)
	} else {
		_, err = fmt.Fprintln(a.out, printable([]byte(l.Value)))
	}
	if err != nil || o.exec == "" {
		return err
	}
	return a.exec(ctx, o.exec, "", "CONCLAVE_LEADER="+said.Value, "CONCLAVE_OWNER="+said.Owner,
		"CONCLAVE_TOKEN="+said.Token, "CONCLAVE_KEY="+said.Key)
}

// exec runs a line with an input, and fails with its exit code.
func (a *app) exec(ctx context.Context, line, input string, env ...string) error {
	cmd := shell(ctx, line)
	cmd.Env = append(environment(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), a.out, a.err
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = a.etcd.commandTimeout
	err := cmd.Run()
	switch exit, ok := errors.AsType[*exec.ExitError](err); {
	case ctx.Err() != nil:
		return interrupted(ctx, err)
	case !ok:
		return err
	default:
		return &exitError{code: exitCode(exit.ProcessState), err: fmt.Errorf("--exec %q: %w", line, err)}
	}
}

// withClient calls fn with a client, and with a context that the first signal ends.
func (a *app) withClient(ctx context.Context, fn func(context.Context, *clientv3.Client) error) error {
	ctx, stop := until(ctx)
	defer stop()
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // nothing depends on it
	return interruptedOnly(ctx, fn(ctx, client))
}

// interruptedOnly returns the signal that has ended ctx, if there is an error at all.
func interruptedOnly(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return interrupted(ctx, err)
}
