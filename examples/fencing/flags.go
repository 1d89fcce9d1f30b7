package main

import (
	"errors"
	"flag"
	"io"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/internal/process"
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
	fs.BoolVar(&o.unguarded, "unguarded", false, "only the part without the condition on the token")
	fs.BoolVar(&o.soft, "soft", !process.CanPause, "cut the worker off from etcd while it waits, instead of SIGSTOP")
	// The default is the shortest that etcd with its default election timeout grants.
	fs.DurationVar(&o.ttl, "ttl", 2*time.Second, "TTL of the workers' leases, whole seconds")
	fs.StringVar(&o.prefix, "prefix", "conclave-fencing/", "prefix of the `names` of the locks")
	o.etcd = cluster.Register(fs)
	help := program.Help{
		Usage: usage,
		About: `A lock's holder is stopped, wakes up too late, and writes to a SQL table.`,
	}
	err = help.Parse(fs, args, out, o.check)
	return o, err
}

// check finds what is wrong with values that were read.
func (o *options) check() error {
	if !o.soft && !process.CanPause {
		return errors.New("-soft=false needs SIGSTOP, which this system does not have")
	}
	return o.etcd.Check(o.ttl)
}
