package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/lease"
)

const usage = "usage: fencing [-unguarded] [-soft] [flags]; -h explains them"

// options are what the command line says.
type options struct {
	etcd            *cluster.Flags
	unguarded, soft bool
	ttl             time.Duration
	prefix          string
}

// parse reads the command line. The error is [flag.ErrHelp] if that was asked for,
// and has been given, or a usage error.
func parse(args []string, out io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("fencing", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.BoolVar(&o.unguarded, "unguarded", false, "only the part without the condition on the token")
	fs.BoolVar(&o.soft, "soft", !workers.CanPause, "cut the worker off from etcd while it waits, instead of SIGSTOP")
	// The default is the shortest that etcd with its default election timeout grants.
	fs.DurationVar(&o.ttl, "ttl", 2*time.Second, "TTL of the workers' leases, whole seconds")
	fs.StringVar(&o.prefix, "prefix", "conclave-fencing/", "of the `names` of the locks")
	if o.etcd, err = cluster.Register(fs); err == nil {
		err = fs.Parse(args)
	}
	if errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintf(out, "A lock's holder is stopped, wakes up too late, and writes to a SQL table.\n\n%s\n\n", usage)
		fs.SetOutput(out)
		fs.PrintDefaults()
		return o, err
	}
	if err == nil {
		err = o.check(fs.Args())
	}
	if err != nil {
		return o, &program.UsageError{Err: err, Usage: usage}
	}
	return o, nil
}

// check finds what is wrong with values that were read.
func (o *options) check(args []string) error {
	_, etcdErr := o.etcd.Spec()
	switch {
	case len(args) > 0:
		return fmt.Errorf("unexpected argument %q", args[0])
	case o.ttl%time.Second != 0 || o.ttl < lease.MinTTL || o.ttl > lease.MaxTTL:
		return fmt.Errorf("-ttl %s: must be whole seconds, %s to %s", o.ttl, lease.MinTTL, lease.MaxTTL)
	case !o.soft && !workers.CanPause:
		return errors.New("-soft=false needs SIGSTOP, which this system does not have")
	}
	return etcdErr
}
