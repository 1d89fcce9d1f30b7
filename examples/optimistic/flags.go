package main

import (
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
)

const usage = "usage: optimistic [-duration 500ms] [-work 5ms] [flags]; -h explains them"

const (
	// defaultDuration makes a run of some twelve seconds.
	defaultDuration = 500 * time.Millisecond
	// defaultWork is a call of another service.
	defaultWork = 5 * time.Millisecond
	// mostWork keeps sixteen locked additions within a few seconds.
	mostWork = time.Second
)

// options are what the command line says.
type options struct {
	etcd           *cluster.Flags
	duration, work time.Duration
	prefix         string
}

// parse reads the command line. The error is [flag.ErrHelp] if that was asked for,
// and has been given, or a usage error.
func parse(args []string, out io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("optimistic", flag.ContinueOnError)
	fs.DurationVar(&o.duration, "duration", defaultDuration, "of each measurement, of which there are 22")
	fs.DurationVar(&o.work, "work", defaultWork, "how long it takes to work out what to write, where that takes time")
	fs.StringVar(&o.prefix, "prefix", "conclave-optimistic/", "of the `keys` in etcd")
	o.etcd = cluster.Register(fs)
	help := program.Help{
		Usage: usage,
		About: `Several at a time change a number in etcd, without a lock and under one. Both are
measured: how many changes a second, how often each was tried, how long the slow
ones took. Flags about etcd take their defaults from etcdctl's variables, -endpoints
from ETCDCTL_ENDPOINTS.`,
	}
	err = help.Parse(fs, args, out, o.check)
	return o, err
}

// check finds what is wrong with values that were read.
func (o *options) check() error {
	_, etcdErr := o.etcd.Spec()
	switch {
	case o.duration <= 0:
		return fmt.Errorf("-duration %s: must be positive", o.duration)
	case o.work < 0 || o.work > mostWork:
		return fmt.Errorf("-work %s: must be 0s to %s", o.work, mostWork)
	}
	return etcdErr
}
