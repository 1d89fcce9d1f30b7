package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/internal/process"
)

const usage = "usage: handover [-run] [-crash] [-pause] [-partition] [-official] [flags]; -h explains them"

const (
	// defaultWorkers is the least with which one waits for one that waits.
	defaultWorkers = 3
	// maxWorkers is what a screen shows.
	maxWorkers = 12
	// defaultHold is short: the shorter a lock is held, the more its hand-over matters.
	defaultHold = 10 * time.Millisecond
	maxHold     = 10 * time.Second
	// defaultTTL is the shortest that etcd with its default election timeout grants.
	defaultTTL      = 2 * time.Second
	defaultDuration = 10 * time.Second
	tourDuration    = 3 * time.Second
)

// options are what the command line says.
type options struct {
	settings

	etcd                         *cluster.Flags
	run, crash, pause, partition bool
	official, plain, verbose     bool
	prefix                       string
	html                         *string
}

// parse reads the command line. The error is [flag.ErrHelp] if that was asked for,
// and has been given, or a usage error.
func parse(args []string, out io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("handover", flag.ContinueOnError)
	fs.BoolVar(&o.run, "run", false, "hand the lock around for -duration")
	fs.BoolVar(&o.crash, "crash", false, "kill the holder (SIGKILL)")
	fs.BoolVar(&o.pause, "pause", false, "stop the holder past its TTL (SIGSTOP), then wake it")
	fs.BoolVar(&o.partition, "partition", false, "cut the holder off from etcd")
	fs.BoolVar(&o.official, "official", false, "the same with clientv3/concurrency")
	fs.IntVar(&o.workers, "workers", defaultWorkers, "`number` of processes")
	fs.DurationVar(&o.hold, "hold", defaultHold, "how long a worker keeps the lock")
	fs.DurationVar(&o.ttl, "ttl", defaultTTL, "TTL of the workers' leases, whole seconds")
	fs.DurationVar(&o.duration, "duration", 0, "how long -run lasts (default 10s, in the tour 3s)")
	fs.BoolVar(&o.plain, "plain", false, "plain lines, as in a pipe or with NO_COLOR")
	fs.BoolVar(&o.verbose, "v", false, "plain lines for every hand-over")
	o.html = report.Flag(fs)
	fs.StringVar(&o.prefix, "prefix", "conclave-handover/", "prefix of the `keys` in etcd")
	o.etcd = cluster.Register(fs)
	help := program.Help{
		Usage: usage,
		About: `Processes hand one lock to each other, and you watch.`,
		More: `Without -run, -crash, -pause, -partition or -official: a short tour of all of
them. With several of the first four, they are played in turn. Flags about etcd take
their defaults from etcdctl's variables, -endpoints from ETCDCTL_ENDPOINTS.
With -html, what happened is also written as a page with a timeline for each
process.`,
	}
	err := help.Parse(fs, args, out, o.check)
	return o, err
}

// check finds what is wrong with values that were read.
func (o *options) check() error {
	switch {
	case o.workers < 2 || o.workers > maxWorkers:
		return fmt.Errorf("-workers %d: must be 2 to %d", o.workers, maxWorkers)
	case o.hold < 0 || o.hold > maxHold:
		return fmt.Errorf("-hold %s: must be 0s to %s", o.hold, maxHold)
	case o.duration < 0:
		return fmt.Errorf("-duration %s: must be positive", o.duration)
	case o.pause && !process.CanPause:
		return errors.New("-pause needs SIGSTOP, which this system does not have")
	}
	return o.etcd.Check(o.ttl)
}
