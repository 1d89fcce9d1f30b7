package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// lockOptions are the flags of lock.
type lockOptions struct {
	runOptions
	holdOptions

	try, read, write, etcdLayout bool
	wait, delay                  time.Duration
	permits                      string
	owner                        string
}

func (a *app) lockCommand() *cobra.Command {
	o := &lockOptions{}
	cmd := &cobra.Command{
		ValidArgsFunction: a.completeNames(64),
		Use:               "lock NAME... [flags] [-- COMMAND [ARG...]]",
		Short:             "Run a command under a lock, or hold one",
		Long: `lock waits for a lock, runs COMMAND, and releases the lock when COMMAND has ended. Several names are locked together.

COMMAND does not outlive the lock: if the lease is not renewed in time, all its processes get SIGTERM --kill-before the
deadline, and SIGKILL a third of that before it. Whatever COMMAND leaves running in its session when it ends is ended too.

Without COMMAND, lock prints "TOKEN KEY" when it has the lock, and holds it until it gets a signal, its standard input
(a pipe) is closed, or the reader of its output goes away.

COMMAND finds CONCLAVE_NAME, CONCLAVE_KEY, CONCLAVE_TOKEN, CONCLAVE_DEADLINE (as of its start) and CONCLAVE_TTL in its environment.

Exit codes: COMMAND's own, or 128 and the signal that killed it; 75 not obtained, 76 lost, 69 etcd does not answer, 77 refused,
64 wrong usage, 126 and 127 COMMAND cannot be run, 70 any other failure.`,
		Example: `  conclave lock reports/nightly -- ./report.sh
  conclave lock reports/nightly --try -- ./report.sh || echo "somebody else does it"
  conclave lock licences --permits 1/5 -- ./render
  coproc LOCK { conclave lock deploy; }; read -r token key <&"${LOCK[0]}"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, command := split(cmd, args)
			return a.lock(cmd.Context(), o, names, command)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.BoolVar(&o.try, "try", false, "do not wait: fail with 75 if somebody has the lock")
	fs.DurationVar(&o.wait, "wait", 0, "wait at most this long, then fail with 75 (default: as long as it takes)")
	fs.StringVar(&o.permits, "permits", "", "take `N/M` permits of a semaphore with M")
	fs.BoolVar(&o.read, "read", false, "lock for reading, together with other readers; writers use --write")
	fs.BoolVar(&o.write, "write", false, "lock for writing, where others use --read")
	o.runOptions.register(fs)
	o.registerRequest(fs)
	o.holdOptions.register(fs)
	fs.DurationVar(&o.delay, "lock-delay", 0, "make the next holder wait this long after a loss; all users of the name must set it")
	fs.BoolVar(&o.etcdLayout, "etcd-layout", false, "share the lock with \"etcdctl lock\" and clientv3/concurrency")
	fs.StringVar(&o.owner, "owner", "", "what others see as the owner (default host:pid)")
	return cmd
}

// split separates names from the command behind "--".
func split(cmd *cobra.Command, args []string) (names, command []string) {
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		return args[:at], args[at:]
	}
	return args, nil
}

func (a *app) lock(ctx context.Context, o *lockOptions, names, command []string) error {
	if err := o.check(names, command); err != nil {
		return err
	}
	work, err := a.newWork(&o.runOptions, command)
	if err != nil {
		return err
	}
	return a.withSession(ctx, &o.runOptions, func(ctx context.Context, s *lease.Session, renewed <-chan struct{}) error {
		ttl, err := o.granted(ctx, s)
		if err != nil {
			return err
		}
		ctx, end := a.attended(ctx, work, &o.holdOptions)
		defer end()
		h, err := o.acquire(ctx, s, names, a.etcd.commandTimeout)
		if err != nil {
			return o.explain(ctx, s, names, err)
		}
		return a.under(ctx, work, &o.holdOptions, o.tenure(h, names, ttl, renewed))
	})
}

func (o *lockOptions) check(names, command []string) error {
	exclusive := map[string]bool{
		"--permits": o.permits != "", "--read": o.read, "--write": o.write,
		"--etcd-layout": o.etcdLayout, "--lock-delay": o.delay != 0,
	}
	var given []string
	for _, name := range []string{"--permits", "--read", "--write", "--etcd-layout", "--lock-delay"} {
		if exclusive[name] {
			given = append(given, name)
		}
	}
	switch {
	case len(names) == 0:
		return usagef("lock: no name: must be one or more, before \"--\"")
	case len(given) > 1:
		return usagef("lock: %s: must be at most one of them", strings.Join(given, ", "))
	case len(names) > 1 && len(given) > 0:
		return usagef("lock: %s: must have one name, not %d", given[0], len(names))
	case o.try && o.wait != 0:
		return usagef("lock: --try and --wait %s: must be at most one of them", o.wait)
	case o.wait < 0:
		return usagef("lock: --wait %s: must not be negative", o.wait)
	}
	if o.permits != "" {
		if _, _, err := parsePermits(o.permits); err != nil {
			return err
		}
	}
	return errors.Join(o.runOptions.check(), o.checkHold(command))
}

// parsePermits reads "N/M".
func parsePermits(s string) (n, of int, err error) {
	left, right, _ := strings.Cut(s, "/")
	n, err = strconv.Atoi(left)
	if err == nil {
		of, err = strconv.Atoi(right)
	}
	if err != nil || n < 1 || n > of || of > lock.MaxPermits {
		return 0, 0, usagef("lock: --permits %q: must be N/M with 1 <= N <= M <= %d", s, lock.MaxPermits)
	}
	return n, of, nil
}

// acquire waits for the lock as the flags say, and with --try for etcd no longer than a timeout.
func (o *lockOptions) acquire(ctx context.Context, s *lease.Session, names []string, timeout time.Duration) (*lock.Hold, error) {
	take, err := o.taker(s, names)
	if err != nil {
		return nil, usage(err)
	}
	waiting := ctx
	if within := pick(o.try, timeout, o.wait); within > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	if err := o.unmixed(waiting, s.Client(), names, timeout); err != nil {
		return nil, err
	}
	h, err := take(waiting)
	if err != nil {
		return nil, err
	}
	// Of two that use a name in two ways, the second to come sees the other. The time to wait may be over by now.
	if err := o.unmixed(ctx, s.Client(), names, timeout); err != nil {
		rerr := within(context.WithoutCancel(ctx), timeout, h.Unlock)
		if isLoss(rerr) { // there is nothing to release
			rerr = nil
		}
		return nil, errors.Join(err, rerr)
	}
	return h, nil
}

// taker returns what takes the lock.
func (o *lockOptions) taker(s *lease.Session, names []string) (func(context.Context) (*lock.Hold, error), error) {
	var opts []lock.Option
	if o.owner != "" {
		opts = append(opts, lock.WithOwner(o.owner))
	}
	switch {
	case o.permits != "":
		n, of, err := parsePermits(o.permits)
		if err != nil {
			return nil, err
		}
		m, err := lock.NewSemaphore(s, names[0], of, opts...)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (*lock.Hold, error) {
			return pick(o.try, m.TryAcquire, m.Acquire)(ctx, n)
		}, nil
	case o.read || o.write:
		m, err := lock.NewRWMutex(s, names[0], opts...)
		if err != nil {
			return nil, err
		}
		if o.read {
			return pick(o.try, m.TryRLock, m.RLock), nil
		}
		return pick(o.try, m.TryLock, m.Lock), nil
	case len(names) > 1:
		m, err := lock.NewMulti(s, names, opts...)
		if err != nil {
			return nil, err
		}
		return pick(o.try, m.TryLock, m.Lock), nil
	default:
		return o.mutex(s, names[0], opts)
	}
}

func (o *lockOptions) mutex(s *lease.Session, name string, opts []lock.Option) (func(context.Context) (*lock.Hold, error), error) {
	if o.etcdLayout {
		opts = append(opts, lock.WithEtcdLayout())
	}
	if o.delay != 0 {
		opts = append(opts, lock.WithLockDelay(o.delay))
	}
	m, err := lock.NewMutex(s, name, opts...)
	if err != nil {
		return nil, err
	}
	return pick(o.try, m.TryLock, m.Lock), nil
}

// pick returns the first if it is wanted, and otherwise the second.
func pick[F any](wanted bool, first, second F) F { //nolint:revive // it is the choice
	if wanted {
		return first
	}
	return second
}

// mixedError says that a name is in use as another kind of lock, which would not exclude this one.
type mixedError struct {
	name, kind, other string
}

// Error says what to do.
func (e *mixedError) Error() string {
	return fmt.Sprintf("lock: %q is in use as another kind of lock (%s) that would not exclude this one (%s): all users of a name must use the same flags, --read and --write, --permits, or none",
		e.name, e.other, e.kind)
}

// kind is the segment of the lock's keys.
func (o *lockOptions) kind() string {
	switch {
	case o.permits != "":
		return "semaphore"
	case o.read || o.write:
		return "rwmutex"
	default:
		return "mutex"
	}
}

// others are the uses of the names that would not exclude this one.
func (o *lockOptions) others(names []string) []*mixedError {
	var all []*mixedError
	for _, name := range names {
		for _, other := range []string{"mutex", "rwmutex", "semaphore"} {
			if other != o.kind() {
				all = append(all, &mixedError{name, o.kind(), other})
			}
		}
	}
	return all
}

// unmixed returns a *mixedError if others use one of the names as another kind of lock, and another error if that is not known
// within a timeout. Who may not see that is not told.
func (o *lockOptions) unmixed(ctx context.Context, client *clientv3.Client, names []string, timeout time.Duration) error {
	if o.etcdLayout {
		return nil
	}
	others := o.others(names)
	err := within(ctx, timeout, func(ctx context.Context) error {
		err := unused(ctx, client, others)
		if !refused(err) {
			return err
		}
		for i := range others { // some of them may be seen, perhaps
			if err := unused(ctx, client, others[i:i+1]); err != nil && !refused(err) {
				return err
			}
		}
		return nil
	})
	switch _, mixed := errors.AsType[*mixedError](err); {
	case err == nil, mixed, ctx.Err() != nil:
		return err
	default:
		return &exitError{code: exitUnavailable, err: fmt.Errorf("lock: %s: whether others use it as another kind of lock: %w", quoted(names), err)}
	}
}

// unused returns the first of others that is in use.
func unused(ctx context.Context, client *clientv3.Client, others []*mixedError) error {
	counts := make([]clientv3.Op, len(others))
	for i, other := range others {
		counts[i] = clientv3.OpGet(other.name+"/~"+other.other+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	}
	resp, err := request(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return client.Txn(ctx).Then(counts...).Commit()
	})
	if err != nil {
		return err
	}
	for i, counted := range resp.Responses {
		if counted.GetResponseRange().Count > 0 {
			return others[i]
		}
	}
	return nil
}

// explain says why there is no lock.
func (o *lockOptions) explain(ctx context.Context, s *lease.Session, names []string, err error) error {
	if cause := context.Cause(ctx); ctx.Err() != nil {
		return cause
	}
	if _, known := errors.AsType[*exitError](err); known {
		return err
	}
	if o.wait > 0 && errors.Is(err, context.DeadlineExceeded) && s.State() == lease.Healthy {
		return &exitError{code: exitNotObtained, err: fmt.Errorf("lock: %s: not obtained within --wait %s: %w", quoted(names), o.wait, err)}
	}
	return err
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = strconv.Quote(name)
	}
	return strings.Join(out, ", ")
}

func (o *lockOptions) tenure(h *lock.Hold, names []string, ttl time.Duration, renewed <-chan struct{}) *tenure {
	return &tenure{
		what: "lock " + quoted(names), names: names, lease: h, ttl: ttl, renewed: renewed, key: h.Key(), token: h.Token().String(),
		release: h.Unlock, requested: h.ReleaseRequested, cause: h.Err,
	}
}
