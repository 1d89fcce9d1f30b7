package main

import (
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/shard"
)

const usage = "usage: shards [-members n] [-shards n] [flags]; -h explains them"

// maxMembers are as many as one process can be without being in its own way.
const maxMembers = 12

// options are what the command line says.
type options struct {
	etcd    *cluster.Flags
	ttl     time.Duration
	group   string
	member  string
	members int
	shards  int
}

// parse reads the command line. The error is [flag.ErrHelp] if that was asked for,
// and has been given, or a usage error.
func parse(args []string, out io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("shards", flag.ContinueOnError)
	fs.IntVar(&o.members, "members", 5, "`number` of members to begin with")
	fs.IntVar(&o.shards, "shards", shard.DefaultShards, "`number` of shards")
	fs.StringVar(&o.member, "member", "", "only be a member with this `name`")
	// The default is the shortest that etcd with its default election timeout grants.
	fs.DurationVar(&o.ttl, "ttl", 2*time.Second, "TTL of the members' leases, whole seconds")
	fs.StringVar(&o.group, "group", "conclave-shards", "`name` of the group in etcd")
	o.etcd = cluster.Register(fs)
	help := program.Help{
		Usage: usage,
		About: `Members share shards among themselves. One joins, one leaves, one is cut
off, and no shard ever has two owners.`,
	}
	err = help.Parse(fs, args, out, func() error { return o.check() })
	return o, err
}

// check finds what is wrong with values that were read.
func (o *options) check() error {
	switch {
	case o.members < 2 || o.members > maxMembers:
		return fmt.Errorf("-members %d: must be 2 to %d", o.members, maxMembers)
	case o.shards <= maxMembers || o.shards > shard.MaxShards:
		return fmt.Errorf("-shards %d: must be %d to %d", o.shards, maxMembers+1, shard.MaxShards)
	case o.member != "" && o.etcd.Embedded():
		return fmt.Errorf("-member %s: must be of a group on an etcd that -endpoints names", o.member)
	}
	return o.etcd.Check(o.ttl)
}
