package main

import (
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
)

const usage = "usage: tenants [-ttl 2s] [-pull 1s] [flags]; -h explains them"

const (
	// defaultTTL is the shortest that etcd with its default election timeout grants.
	defaultTTL = 2 * time.Second
	// defaultPull is for how long a push that was lost is not missed.
	defaultPull = time.Second
)

// options are what the command line says.
type options struct {
	etcd      *cluster.Flags
	ttl, pull time.Duration
	prefix    string
}

// parse reads the command line. The error is [flag.ErrHelp] if that was asked for,
// and has been given, or a usage error.
func parse(args []string, out io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("tenants", flag.ContinueOnError)
	fs.DurationVar(&o.ttl, "ttl", defaultTTL, "TTL of the replicas' leases, whole seconds")
	fs.DurationVar(&o.pull, "pull", defaultPull, "how often replicas pull all policies")
	fs.StringVar(&o.prefix, "prefix", "conclave-tenants/", "of the `keys` in etcd")
	o.etcd = cluster.Register(fs)
	help := program.Help{
		Usage: usage,
		About: `Replicas of a controller, of which one is elected, keep the products of tenants as
they should be, within what policies allow. Policies change, pushes of them are
repeated, mixed up and lost, and the leader is killed. Flags about etcd take their
defaults from etcdctl's variables, -endpoints from ETCDCTL_ENDPOINTS.`,
	}
	err = help.Parse(fs, args, out, o.check)
	return o, err
}

// check finds what is wrong with values that were read.
func (o *options) check() error {
	if o.pull <= 0 {
		return fmt.Errorf("-pull %s: must be positive", o.pull)
	}
	return o.etcd.Check(o.ttl)
}
