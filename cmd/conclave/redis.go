package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/conclave-go/conclave/redlock"
)

// redisOptions are the flags of redis lock.
type redisOptions struct {
	runOptions
	holdOptions

	nodes []string
	try   bool
	wait  time.Duration
	owner string
}

// nodesVariable is where nodes are taken from when no flag names them. Passwords have no place on command lines.
const nodesVariable = "CONCLAVE_REDIS_NODES"

func (a *app) redisCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "redis",
		Short: "A lock on Redis, for contrast",
		Long:  "redis has the locks on Redis: the plain lock on one server, or Redlock on three or more. What they do not promise is in docs/cli.md.",
	}
	cmd.AddCommand(a.redisLockCommand())
	return cmd
}

func (a *app) redisLockCommand() *cobra.Command {
	o := &redisOptions{}
	cmd := &cobra.Command{
		Use:   "lock NAME --nodes ADDRESS,... [flags] [-- COMMAND [ARG...]]",
		Short: "Run a command under a lock on Redis, or hold one",
		Long: `redis lock is lock with Redis in place of etcd: one server, or three or more independent ones (Redlock). Flags, environment and exit codes
are those of lock, and COMMAND is ended before the deadline, as with lock.

There is no CONCLAVE_TOKEN: Redis has no fencing token, so nothing that COMMAND writes to can tell a late write. Two may hold the lock if a node restarts without
its data, fails over, evicts the key, or has its clock set. Waiters are not served in order. redis lock says so once on stderr.`,
		Example: `  conclave redis lock cache/refill --nodes redis-1:6379 -- ./refill.sh
  CONCLAVE_REDIS_NODES=rediss://:secret@r1:6379,rediss://:secret@r2:6379,rediss://:secret@r3:6379 conclave redis lock cache/refill -- ./refill.sh`,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, command := split(cmd, args)
			return a.redisLock(cmd.Context(), o, names, command)
		},
	}
	// The flags for etcd do not matter here.
	cmd.SetUsageTemplate(strings.ReplaceAll(cmd.UsageTemplate(), ".HasAvailableInheritedFlags", "false"))
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringSliceVar(&o.nodes, "nodes", nil, "`addresses` of Redis servers, host:port or redis[s]://[user]:password@host:port/db (default: $"+nodesVariable+")")
	fs.BoolVar(&o.try, "try", false, "do not wait: fail with 75 if somebody has the lock")
	fs.DurationVar(&o.wait, "wait", 0, "wait at most this long, then fail with 75 (default: as long as it takes)")
	o.runOptions.register(fs)
	o.holdOptions.register(fs)
	fs.StringVar(&o.owner, "owner", "", "what others see as the owner (default host:pid)")
	return cmd
}

func (o *redisOptions) checkAll(names, command []string) error {
	if len(o.nodes) == 0 {
		o.nodes = strings.FieldsFunc(os.Getenv(nodesVariable), func(r rune) bool { return r == ',' || r == ' ' })
	}
	switch {
	case len(names) != 1:
		return usagef("redis lock: %d names before \"--\": must be one", len(names))
	case len(o.nodes) == 0:
		return usagef("redis lock: no --nodes, and no %s: must be one address, or three or more", nodesVariable)
	case o.try && o.wait != 0:
		return usagef("redis lock: --try and --wait %s: must be at most one of them", o.wait)
	case o.wait < 0:
		return usagef("redis lock: --wait %s: must not be negative", o.wait)
	}
	return errors.Join(o.check(), o.checkHold(command))
}

// silence is a log of clients. What matters comes back as an error.
type silence struct{}

// Printf prints nothing.
func (silence) Printf(context.Context, string, ...any) {}

func (a *app) redisLock(ctx context.Context, o *redisOptions, names, command []string) error {
	if err := o.checkAll(names, command); err != nil {
		return err
	}
	work, err := a.newWork(&o.runOptions, command)
	if err != nil {
		return err
	}
	ctx, stop := a.untilHeld(ctx)
	defer stop()
	renewed := make(chan struct{}, 1)
	nodes, end, err := a.redisNodes(o, renewed)
	if err != nil {
		return err
	}
	defer end()
	a.note("redis: this lock has no fencing token, and two may hold it when a node restarts, fails over, evicts the key or has its clock set")
	ctx, leave := a.attended(ctx, work, &o.holdOptions)
	defer leave()
	h, err := o.acquire(ctx, nodes, names[0], a.etcd.commandTimeout)
	if err != nil {
		return interruptedOnly(ctx, err)
	}
	return a.under(ctx, work, &o.holdOptions, &tenure{
		what: fmt.Sprintf("redis lock %q", names[0]), names: names, lease: h, ttl: time.Duration(o.ttl), renewed: renewed,
		key: h.Name(), release: h.Unlock, cause: h.Err,
	})
}

// redisNodes connects to the nodes; end closes them.
func (a *app) redisNodes(o *redisOptions, renewed chan<- struct{}) (nodes *redlock.Nodes, end func(), err error) {
	redis.SetLogger(silence{})
	var clients []redis.UniversalClient
	for _, node := range o.nodes {
		opts := &redis.Options{Addr: node}
		if strings.Contains(node, "://") {
			if opts, err = redis.ParseURL(node); err != nil {
				return nil, nil, usagef("--nodes: %w", err) // not the address, which may have a password
			}
		}
		opts.MaxRetries, opts.ContextTimeoutEnabled, opts.DialTimeout = -1, true, a.etcd.dialTimeout
		clients = append(clients, redis.NewClient(opts))
	}
	options := []redlock.Option{
		redlock.WithTTL(time.Duration(o.ttl)), redlock.WithLogger(a.logger()),
		redlock.WithObserver(redlock.Observer{Extended: func(redlock.Event) {
			select {
			case renewed <- struct{}{}:
			default: // it has yet to look at the one before
			}
		}}),
	}
	if o.owner != "" {
		options = append(options, redlock.WithOwner(o.owner))
	}
	if nodes, err = redlock.NewNodes(clients, options...); err != nil {
		return nil, nil, usage(err)
	}
	return nodes, func() {
		done, cancel := context.WithCancel(context.Background())
		cancel() // the grace is all the time there is
		if err := nodes.Close(done); err != nil && !errors.Is(err, context.Canceled) {
			a.note("%v", err)
		}
		for _, c := range clients {
			_ = c.Close() // nothing depends on it
		}
	}, nil
}

// acquire waits for the lock as the flags say, once enough nodes have answered at all, which they have to do within a time.
func (o *redisOptions) acquire(ctx context.Context, nodes *redlock.Nodes, name string, within time.Duration) (*redlock.Hold, error) {
	m, err := redlock.NewMutex(nodes, name)
	if err != nil {
		return nil, usage(err)
	}
	if o.try {
		return m.TryLock(ctx)
	}
	waiting := ctx
	if o.wait > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeoutCause(ctx, o.wait, errWaited)
		defer cancel()
		within = min(within, o.wait)
	}
	h, err := answered(ctx, m, within)
	if !errors.Is(err, redlock.ErrLocked) {
		return h, err
	}
	h, err = m.Lock(waiting)
	if err == nil || !errors.Is(context.Cause(waiting), errWaited) {
		return h, err
	}
	err = fmt.Errorf("redis lock: %q: not obtained within --wait %s: %w", name, o.wait, err)
	if unanswered(err) {
		return nil, err
	}
	return nil, &exitError{code: exitNotObtained, err: err}
}

// answered tries to take the lock until enough nodes have answered, or refuse for good. Nodes that are slower than the node
// timeout, or about to start, have that long. That is for those who wait: what one attempt has left can look to the next like
// somebody else's lock.
func answered(ctx context.Context, m *redlock.Mutex, within time.Duration) (*redlock.Hold, error) {
	const pause = 50 * time.Millisecond
	end := time.After(within)
	for {
		h, err := m.TryLock(ctx)
		if !unanswered(err) || refused(err) {
			return h, err
		}
		select {
		case <-time.After(pause):
		case <-end:
			return nil, err
		case <-ctx.Done():
			return nil, err
		}
	}
}

// unanswered reports whether too many nodes have failed.
func unanswered(err error) bool {
	_, ok := errors.AsType[*redlock.QuorumError](err)
	return ok
}

// errWaited is the cause when --wait is over.
var errWaited = errors.New("--wait is over")
