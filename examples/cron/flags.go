package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/lease"
)

const usage = "usage: cron [flags]; -h explains them"

// options are what the command line says.
type options struct {
	etcd   *cluster.Flags
	ttl    time.Duration
	prefix string
}

// parse reads the command line. The error is [flag.ErrHelp] if that was asked for,
// and has been given, or a usage error.
func parse(args []string, out io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("cron", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	// The default is the shortest that etcd with its default election timeout grants.
	fs.DurationVar(&o.ttl, "ttl", 2*time.Second, "TTL of the processes' leases, whole seconds")
	fs.StringVar(&o.prefix, "prefix", "conclave-cron/", "of the `keys` in etcd")
	if o.etcd, err = cluster.Register(fs); err == nil {
		err = fs.Parse(args)
	}
	if errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintf(out, `Processes share the runs of two cron jobs. One dies in the middle of a run, all
are gone for a while, one is stopped and wakes up too late.

%s

`, usage)
		fs.SetOutput(out)
		fs.PrintDefaults()
		return o, err
	}
	if err == nil {
		err = o.check(fs.Args())
	}
	return o, program.Misuse(err, usage)
}

// check finds what is wrong with values that were read.
func (o *options) check(args []string) error {
	_, etcdErr := o.etcd.Spec()
	switch {
	case len(args) > 0:
		return fmt.Errorf("unexpected argument %q", args[0])
	case o.ttl%time.Second != 0 || o.ttl < lease.MinTTL || o.ttl > lease.MaxTTL:
		return fmt.Errorf("-ttl %s: must be whole seconds, %s to %s", o.ttl, lease.MinTTL, lease.MaxTTL)
	}
	return etcdErr
}
