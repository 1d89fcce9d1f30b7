package main

import (
	"flag"
	"fmt"
	"io"
	"regexp"

	"github.com/conclave-go/conclave/internal/compare/capacity"
)

// options is what the command line says.
type options struct {
	cfg                   capacity.Config
	only                  *regexp.Regexp
	from, out             string
	quick, markdown, list bool
}

// parse reads the command line. The defaults of numbers depend on one of the flags.
func parse(args []string, progress io.Writer) (options, error) {
	o, err := parseOver(capacity.Full(progress), args)
	if err == nil && o.quick {
		return parseOver(capacity.Quick(progress), args)
	}
	return o, err
}

// parseOver reads the command line over defaults.
func parseOver(defaults capacity.Config, args []string) (options, error) {
	o := options{cfg: defaults}
	flags := flag.NewFlagSet("capacity", flag.ContinueOnError)
	flags.SetOutput(defaults.Progress)
	flags.BoolVar(&o.quick, "quick", false, "measure only a little, in less than a minute")
	only := flags.String("only", "", "measure only the parts whose names match this `expression`")
	flags.BoolVar(&o.list, "list", false, "list the parts")
	flags.StringVar(&o.from, "from", "", "do not measure: read this `file` of figures")
	flags.StringVar(&o.out, "out", "", "write capacity.csv and charts to this `folder`; figures there that are not measured again are kept")
	flags.BoolVar(&o.markdown, "markdown", false, "print tables for docs/performance/capacity.md")
	flags.BoolVar(&o.cfg.Fsync, "fsync", defaults.Fsync, "let the server write to disk before it answers")
	flags.DurationVar(&o.cfg.TTL, "ttl", defaults.TTL, "TTL of the sessions")
	sizes := numbers(&o.cfg)
	for _, n := range sizes {
		flags.IntVar(n.to, n.flag, *n.to, n.usage)
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q: there are no arguments but flags", flags.Arg(0))
	}
	for _, n := range sizes {
		if *n.to < 1 {
			return o, fmt.Errorf("-%s %d: must be at least 1", n.flag, *n.to)
		}
	}
	var err error
	o.only, err = regexp.Compile(*only)
	return o, err
}

// number is a number of the configuration, and its flag.
type number struct {
	flag, usage string
	to          *int
}

func numbers(cfg *capacity.Config) []number {
	return []number{
		{"max-sessions", "sessions on shared clients", &cfg.Sessions},
		{"max-clients", "sessions with a client each", &cfg.Clients},
		{"max-holds", "holds of one session", &cfg.Holds},
		{"max-waiters", "waiters of one session", &cfg.Waiters},
		{"max-waiting-sessions", "waiters with a session each", &cfg.HandedOver},
		{"max-keys", "keys in a cache", &cfg.Keys},
		{"max-observers", "observers with one client", &cfg.Observers},
		{"max-observing-clients", "observers with a client each", &cfg.Watchers},
		{"max-workers", "workers that lock and unlock", &cfg.Workers},
		{"max-renewed", "sessions that are renewed, from 100", &cfg.Renewed},
		{"operations", "how often an operation is done", &cfg.Operations},
		{"rounds", "for how many thirds of the TTL a load is left alone", &cfg.Rounds},
	}
}
