package main

import (
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
)

const usage = "usage: registry [-ttl 2s] [-callers 4] [flags]; -h explains them"

const (
	// defaultTTL is the shortest that etcd with its default election timeout grants.
	defaultTTL     = 2 * time.Second
	defaultCallers = 4
	maxCallers     = 100
)

// options are what the command line says.
type options struct {
	etcd    *cluster.Flags
	ttl     time.Duration
	callers int
	prefix  string
}

// parse reads the command line. The error is [flag.ErrHelp] if that was asked for,
// and has been given, or a usage error.
func parse(args []string, out io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("registry", flag.ContinueOnError)
	fs.DurationVar(&o.ttl, "ttl", defaultTTL, "TTL of the servers' leases, whole seconds")
	fs.IntVar(&o.callers, "callers", defaultCallers, "`number` of clients that call all the time")
	fs.StringVar(&o.prefix, "prefix", "conclave-registry/", "of the `keys` in etcd")
	o.etcd = cluster.Register(fs)
	help := program.Help{
		Usage: usage,
		About: `gRPC servers register in etcd, and clients call them all the time. One server is
drained, one is killed, and last etcd is stopped and started again, unless it is
yours (-endpoints). Flags about etcd take their defaults from etcdctl's variables,
-endpoints from ETCDCTL_ENDPOINTS.`,
	}
	err = help.Parse(fs, args, out, o.check)
	return o, err
}

// check finds what is wrong with values that were read.
func (o *options) check() error {
	if o.callers < 1 || o.callers > maxCallers {
		return fmt.Errorf("-callers %d: must be 1 to %d", o.callers, maxCallers)
	}
	return o.etcd.Check(o.ttl)
}
