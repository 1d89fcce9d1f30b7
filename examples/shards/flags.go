package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
)

const usage = "usage: shards [-labels names] [-members n] [-load f] [flags]; -h explains them"

// maxMembers leaves each member shards enough to be spread evenly.
const maxMembers = 12

// options are what the command line says.
type options struct {
	etcd    *cluster.Flags
	ttl     time.Duration
	prefix  string
	members int
	load    float64
	labels  []string
}

// parse reads the command line. The error is [flag.ErrHelp] if that was asked for,
// and has been given, or a usage error.
func parse(args []string, out io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("shards", flag.ContinueOnError)
	names := fs.String("labels", "tenant,metric", "`labels` that decide, of tenant,metric,host")
	fs.IntVar(&o.members, "members", 5, "`number` of members to begin with")
	fs.Float64Var(&o.load, "load", 1.1, "the most that a member may get, as a `factor` of the mean")
	// The default is the shortest that etcd with its default election timeout grants.
	fs.DurationVar(&o.ttl, "ttl", 2*time.Second, "TTL of the members' leases, whole seconds")
	fs.StringVar(&o.prefix, "prefix", "conclave-shards/", "of the `keys` in etcd")
	o.etcd = cluster.Register(fs)
	help := program.Help{
		Usage: usage,
		About: `Members share out shards among themselves. One joins, one leaves, one is cut
off, and no shard ever has two owners.`,
	}
	err = help.Parse(fs, args, out, func() error {
		o.labels = strings.Split(*names, ",")
		return o.check()
	})
	return o, err
}

// check finds what is wrong with values that were read.
func (o *options) check() error {
	switch {
	case o.members < 2 || o.members > maxMembers:
		return fmt.Errorf("-members %d: must be 2 to %d", o.members, maxMembers)
	case !(o.load >= 1.1 && o.load <= 10): // not a number either
		return fmt.Errorf("-load %v: must be 1.1 to 10", o.load)
	}
	for _, name := range o.labels {
		if !slices.Contains(labelNames(), name) {
			return fmt.Errorf("-labels: no label is called %q: there are %s", name, strings.Join(labelNames(), ", "))
		}
	}
	return o.etcd.Check(o.ttl)
}
