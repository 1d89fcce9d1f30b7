package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/term"

	"github.com/conclave-go/conclave/lease"
)

// app is one run of the program.
type app struct {
	in       *os.File
	out, err io.Writer
	screen   io.Writer // where what goes to out is shown, if not there

	etcd    etcdFlags
	tls     *tls.Config // of the client
	debug   bool
	begun   bool           // the command line is right
	signals chan os.Signal // for the command, those too that have come before it
}

// run executes a command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	layOut(root, a.width())
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.begun {
		err = usage(err)
	}
	return a.report(err)
}

// root is the tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "conclave",
		Short: "Locks, elections, registrations and watches on etcd, for scripts and operators",
		Long: `conclave runs commands under locks and elections on etcd, and ends them before anybody else can have the lock.
Flags and ETCDCTL_* variables are etcdctl's.`,
		Version:           version(),
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.begun = true
			return a.etcd.environment(cmd.Flags())
		},
	}
	a.etcd.register(root.PersistentFlags())
	root.PersistentFlags().BoolVar(&a.debug, "debug", false, "print details on stderr, such as failed renewals")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.AddCommand(a.manCommand(root), a.lockCommand(), a.electCommand(), a.observeCommand(), a.inspectCommand(), a.lsCommand(), a.releaseCommand(),
		a.registerCommand(), a.watchCommand(), a.shardsCommand(), a.doctorCommand(), a.redisCommand())
	return root
}

// version is that of the module, as `go install` has recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// logger writes what an operator may want to know to stderr: nothing when all is well. That etcd
// is an old version is said to people, not to each script every night; doctor says it as well.
func (a *app) logger() *slog.Logger {
	to := &lines{mu: &sync.Mutex{}, to: a.err, level: slog.LevelWarn}
	if a.debug {
		to.level = slog.LevelDebug
	} else if !isTerminal(a.err) {
		to.quiet = []string{"lease: etcd is too old"}
	}
	return slog.New(to)
}

// isTerminal reports whether people read what is written.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// note says something on stderr.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintf(a.err, "conclave: "+format+"\n", args...) // there is nobody else to tell
}

// ending are the signals that end the program in good order, unless there is a command that they are passed on to.
func ending() []os.Signal {
	return append([]os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}, forwarded()...)
}

// catch has signals sent to c, but for those that whoever has started the program wants to be ignored.
func catch(c chan<- os.Signal, signals []os.Signal) {
	for _, s := range signals {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}

// untilHeld is until for what can hold something. Signals are kept for a command, too, so that none is lost that
// comes between the wait and the command's start. That nobody reads what is printed is an error, and not the end of the
// program: what it holds has to be given back. SIGPIPE is caught for that and not ignored, which children would inherit.
func (a *app) untilHeld(ctx context.Context) (context.Context, context.CancelFunc) {
	a.signals = make(chan os.Signal, 16)
	catch(a.signals, ending())
	broken := make(chan os.Signal, 1)
	catch(broken, []os.Signal{syscall.SIGPIPE})
	ctx, stop := until(ctx)
	return ctx, func() { stop(); signal.Stop(a.signals); signal.Stop(broken) }
}

// until returns a context that ends with the first signal that asks the program to end, and with
// its cause, an interruption. The next does what it would do without this: what does not heed the context is ended by it.
func until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := make(chan os.Signal, 1)
	catch(c, ending())
	go func() { // ends with ctx
		select {
		case s := <-c:
			signal.Stop(c)
			cancel(interruption{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { signal.Stop(c); cancel(nil) }
}

// session starts a session, whose first lease has to be granted within the command timeout.
// renewed gets a token after each renewal.
func (a *app) session(ctx context.Context, client *clientv3.Client, ttl time.Duration, renewed chan<- struct{}) (*lease.Session, error) {
	timed, cancel := context.WithTimeout(ctx, a.etcd.commandTimeout)
	defer cancel()
	s, err := lease.NewSession(timed, client, lease.WithTTL(ttl), lease.WithLogger(a.logger()),
		lease.WithObserver(lease.Observer{Renewed: func(*lease.Lease, time.Duration) {
			select {
			case renewed <- struct{}{}:
			default: // it has yet to look at the one before
			}
		}}))
	if err != nil {
		return nil, a.etcd.explain(ctx, err)
	}
	return s, nil
}
