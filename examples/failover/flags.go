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

const usage = "usage: failover [-crash] [-pause] [-partition] [-transfer] [-resign] [flags]; -h explains them"

const (
	// defaultCandidates is the least with which a transfer skips two.
	defaultCandidates = 4
	// maxCandidates is what a screen of 24 lines shows with the fail-overs.
	maxCandidates = 8
	// defaultTTL is the shortest that etcd with its default election timeout grants.
	defaultTTL = 2 * time.Second
	// maxTimes is where a run gets longer than anybody looks on.
	maxTimes = 1000
)

// settings are what the candidates are told.
type settings struct {
	candidates int
	ttl        time.Duration
	recorded   bool // on charts
}

// options are what the command line says.
type options struct {
	settings

	etcd   *cluster.Flags
	named  map[string]*bool // the acts, by name
	times  int
	tour   bool
	plain  bool
	prefix string
	html   *string
}

// parse reads the command line. The error is [flag.ErrHelp] if that was asked for,
// and has been given, or a usage error.
func parse(args []string, out io.Writer) (options, error) {
	o := options{named: make(map[string]*bool)}
	fs := flag.NewFlagSet("failover", flag.ContinueOnError)
	o.named["crash"] = fs.Bool("crash", false, "kill the leader (SIGKILL)")
	o.named["pause"] = fs.Bool("pause", false, "stop the leader past its TTL (SIGSTOP), then wake it")
	o.named["partition"] = fs.Bool("partition", false, "cut the leader off from etcd")
	o.named["transfer"] = fs.Bool("transfer", false, "let the leader hand its term to the last in the queue")
	o.named["resign"] = fs.Bool("resign", false, "let the leader resign")
	fs.IntVar(&o.times, "times", 1, "`number` of times to play each")
	fs.BoolVar(&o.tour, "tour", false, "play all and exit, even on a terminal")
	fs.IntVar(&o.candidates, "candidates", defaultCandidates, "`number` of processes")
	fs.DurationVar(&o.ttl, "ttl", defaultTTL, "TTL of the candidates' leases, whole seconds")
	fs.BoolVar(&o.plain, "plain", false, "plain lines, as in a pipe or with NO_COLOR")
	o.html = report.Flag(fs)
	fs.StringVar(&o.prefix, "prefix", "conclave-failover/", "prefix of the `keys` in etcd")
	o.etcd = cluster.Register(fs)
	help := program.Help{
		Usage: usage,
		About: `Processes stand for election; faults befall the leader, and you watch.`,
		More: `Without -crash, -pause, -partition, -transfer or -resign: a short tour of all of
them. On a terminal it goes on until you press q, and the keys c, p, x, t and r
trigger them too. Flags about etcd take their defaults from etcdctl's variables,
-endpoints from ETCDCTL_ENDPOINTS. With -html, what happened is also written as a
page with a timeline for each process.`,
	}
	err := help.Parse(fs, args, out, o.check)
	return o, err
}

// check finds what is wrong with values that were read.
func (o *options) check() error {
	switch {
	case o.candidates < 2 || o.candidates > maxCandidates:
		return fmt.Errorf("-candidates %d: must be 2 to %d", o.candidates, maxCandidates)
	case o.times < 1 || o.times > maxTimes:
		return fmt.Errorf("-times %d: must be 1 to %d", o.times, maxTimes)
	case *o.named["pause"] && !process.CanPause:
		return errors.New("-pause needs SIGSTOP, which this system does not have")
	}
	return o.etcd.Check(o.ttl)
}

// chosen reports whether acts were named.
func (o *options) chosen() bool {
	for _, named := range o.named {
		if *named {
			return true
		}
	}
	return false
}

// wanted returns the acts that were named, or all; each as often as was asked.
func (o *options) wanted() []act {
	all := !o.chosen()
	var wanted []act
	for _, a := range acts() {
		for range o.times {
			if all || *o.named[a.name] {
				wanted = append(wanted, a)
			}
		}
	}
	return wanted
}
