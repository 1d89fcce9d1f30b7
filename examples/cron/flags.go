package main

import (
	"flag"
	"io"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
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
	// The default is the shortest that etcd with its default election timeout grants.
	fs.DurationVar(&o.ttl, "ttl", 2*time.Second, "TTL of the processes' leases, whole seconds")
	fs.StringVar(&o.prefix, "prefix", "conclave-cron/", "of the `keys` in etcd")
	o.etcd = cluster.Register(fs)
	help := program.Help{
		Usage: usage,
		About: `Processes share the runs of two cron jobs. One dies in the middle of a run, all
are gone for a while, one is stopped and wakes up too late.`,
	}
	err = help.Parse(fs, args, out, func() error { return o.etcd.Check(o.ttl) })
	return o, err
}
