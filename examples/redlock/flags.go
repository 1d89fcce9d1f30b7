package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/redlock"
)

const usage = "usage: redlock [-run] [-crash-node] [-hang] [-restart-empty] [-clock-jump]\n" +
	"       [-pause] [flags]; -h explains them"

const (
	defaultNodes = 5
	maxNodes     = 9
	// defaultWorkers is the least with which one waits for one that waits.
	defaultWorkers = 3
	// maxWorkers is what a screen shows.
	maxWorkers = 12
	// defaultHold is short: the shorter a lock is held, the more its hand-over matters.
	defaultHold = 10 * time.Millisecond
	maxHold     = 10 * time.Second
	// defaultTTL is short, because much of what is shown takes one.
	defaultTTL      = 2 * time.Second
	minTTL          = time.Second
	maxTTL          = time.Minute
	defaultDuration = 10 * time.Second
	tourDuration    = 2 * time.Second
	// timeoutsPerTTL is how package redlock derives the node timeout.
	timeoutsPerTTL = 10
	// clientTimeout is how long go-redis waits for a reply by itself.
	clientTimeout = 5 * time.Second
)

// nodeTimeout is the default of package redlock.
func nodeTimeout(ttl time.Duration) time.Duration {
	return min(ttl/timeoutsPerTTL, redlock.MaxNodeTimeout)
}

// options are what the command line says.
type options struct {
	settings

	run, crash, hang, restart, jump, pause bool
	plain                                  bool
	nodes                                  int
	redis                                  []string // nil if the servers are our own
	prefix                                 string
}

// parse reads the command line. The error is [flag.ErrHelp] if that was asked for,
// and has been given, or a usage error.
func parse(args []string, out io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("redlock", flag.ContinueOnError)
	fs.BoolVar(&o.run, "run", false, "hand the lock around for -duration")
	fs.BoolVar(&o.crash, "crash-node", false, "kill nodes, one after another")
	fs.BoolVar(&o.hang, "hang", false, "let nodes hang, one after another")
	fs.BoolVar(&o.restart, "restart-empty", false, "let a node come back without its keys, first without WithMinUptime, then with it")
	fs.BoolVar(&o.jump, "clock-jump", false, "let the clocks of a majority of nodes jump")
	fs.BoolVar(&o.pause, "pause", false, "stop the holder past its TTL (SIGSTOP), then wake it")
	fs.IntVar(&o.nodes, "nodes", 0, "`number` of nodes, 1 for the plain lock (default 5)")
	fs.IntVar(&o.workers, "workers", defaultWorkers, "`number` of processes")
	fs.DurationVar(&o.hold, "hold", defaultHold, "how long a worker keeps the lock")
	fs.DurationVar(&o.ttl, "ttl", defaultTTL, "TTL of the lock")
	fs.DurationVar(&o.duration, "duration", 0, "how long -run lasts (default 10s, in the tour 2s)")
	fs.BoolVar(&o.plain, "plain", false, "plain lines, as in a pipe or with NO_COLOR")
	fs.StringVar(&o.prefix, "prefix", "conclave-redlock/", "prefix of the `names` of the locks")
	fs.Func("redis", "comma-separated `nodes`, host:port or redis:// URLs; by default they are started", func(s string) error {
		for node := range strings.SplitSeq(s, ",") {
			o.redis = append(o.redis, strings.TrimSpace(node))
		}
		return nil
	})
	help := program.Help{
		Usage: usage,
		About: `Processes hand a Redlock to each other, and you see where it holds and where it
breaks.`,
		More: `Without any of the first six: a short tour of all of them. With several, they
are played in turn. The nodes are processes of redis-server if there is one in the
PATH, and miniredis in this process if not. Nodes of -redis are not touched:
instead of being killed they are cut off, instead of restarting empty they lose
the lock's key, and instead of a clock jump the key's TTL is shortened.`,
	}
	err := help.Parse(fs, args, out, o.check)
	return o, err
}

// check finds what is wrong with values that were read, and sets the number of nodes.
func (o *options) check() error {
	switch {
	case o.redis != nil && o.nodes != 0:
		return errors.New("-nodes and -redis exclude each other: all that are named are used")
	case o.redis != nil:
		o.nodes = len(o.redis)
	case o.nodes == 0:
		o.nodes = defaultNodes
	}
	switch {
	case o.nodes < 1 || o.nodes > maxNodes || o.nodes%2 == 0:
		return fmt.Errorf("%d nodes: must be an odd number, 1 to %d", o.nodes, maxNodes)
	case o.workers < 2 || o.workers > maxWorkers:
		return fmt.Errorf("-workers %d: must be 2 to %d", o.workers, maxWorkers)
	case o.hold < 0 || o.hold > maxHold:
		return fmt.Errorf("-hold %s: must be 0s to %s", o.hold, maxHold)
	case o.ttl%time.Millisecond != 0 || o.ttl < minTTL || o.ttl > maxTTL:
		return fmt.Errorf("-ttl %s: must be whole milliseconds, %s to %s", o.ttl, minTTL, maxTTL)
	case o.duration < 0:
		return fmt.Errorf("-duration %s: must be positive", o.duration)
	case o.pause && !process.CanPause:
		return errors.New("-pause needs SIGSTOP, which this system does not have")
	}
	return o.checkNodes()
}

// checkNodes finds addresses that no client takes. It names them by number: there may
// be a password in them.
func (o *options) checkNodes() error {
	for i, node := range o.redis {
		if _, err := nodeOptions(node); err != nil || node == "" {
			return fmt.Errorf("-redis: node %d: must be host:port or a redis:// URL", i+1)
		}
	}
	return nil
}
