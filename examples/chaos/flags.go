package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/internal/chaos"
)

const usage = "usage: chaos [-only NAMES] [-duration D | -replay FILE] [flags]; -h explains them"

const (
	// defaultTTL is the shortest that etcd with its default election timeout grants.
	defaultTTL = 2 * time.Second
	// defaultRounds makes more than sixty partitions and forty pauses of locks on etcd.
	defaultRounds = 6
	maxRounds     = 1000
	// defaultParallel is for two processors: with more, workers are late, and etcd too.
	defaultParallel = 2
	maxParallel     = 64
	maxTTL          = time.Minute
)

// options are what the command line says.
type options struct {
	seed     uint64
	list     bool
	ttl      time.Duration
	rounds   int
	parallel int
	duration time.Duration
	replay   string
	json     string
	save     string
	document string
	html     *string
	plain    bool
	verbose  bool
	required bool

	schedule chaos.Schedule // of -replay, or the scenarios
}

// parse reads the command line. The error is [flag.ErrHelp] if that was asked for, and
// has been given, or a usage error.
func parse(args []string, out io.Writer) (options, error) {
	var o options
	var only string
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	fs.Uint64Var(&o.seed, "seed", 0, "seed of all choices; 0 draws one")
	fs.StringVar(&only, "only", "", "scenarios and systems, by parts of their `names`, separated by commas")
	fs.BoolVar(&o.list, "list", false, "list the scenarios and systems, and exit")
	fs.DurationVar(&o.ttl, "ttl", defaultTTL, "TTL of the locks, whole seconds; some scenarios have their own")
	fs.IntVar(&o.rounds, "rounds", defaultRounds, "`number` of faults in each scenario, or random composition")
	fs.IntVar(&o.parallel, "parallel", defaultParallel, "`number` of scenarios played at once")
	fs.DurationVar(&o.duration, "duration", 0, "play random compositions for this long, or until a promise is broken")
	fs.StringVar(&o.replay, "replay", "", "play the schedule in `file`")
	fs.StringVar(&o.save, "schedule", "", "write the schedule to `file`, for -replay")
	fs.StringVar(&o.document, "document", "", "replace the verdicts in `file`, which is docs/chaos.md")
	fs.StringVar(&o.json, "json", "", "write the report and every event as lines of JSON to `file`")
	o.html = report.Flag(fs)
	fs.BoolVar(&o.plain, "plain", false, "plain lines, as in a pipe or with NO_COLOR")
	fs.BoolVar(&o.verbose, "v", false, "plain lines, also of what is being done")
	fs.BoolVar(&o.required, "required", false, "fail if anything is skipped")
	help := program.Help{
		Usage: usage,
		About: `Locks, as processes on this machine, go through faults, and you see which of them
kept their promises.`,
		More: `Without redis-server, the Redis scenarios are played with miniredis, or skipped
if that cannot play them. The seed, the choices and what happened can be written
to files, and a schedule can be replayed. docs/chaos.md explains the scenarios.`,
	}
	err := help.Parse(fs, args, out, func() error {
		var err error
		fs.Visit(func(f *flag.Flag) { // without -duration there is no soak
			if f.Name == "duration" && o.duration <= 0 {
				err = fmt.Errorf("-duration %s: must be more than 0", o.duration)
			}
		})
		if err = errors.Join(err, o.check()); err != nil {
			return err
		}
		return o.choose(only)
	})
	return o, err
}

// check finds what is wrong with values that were read.
func (o *options) check() error {
	switch {
	case o.ttl%time.Second != 0 || o.ttl < time.Second || o.ttl > maxTTL:
		return fmt.Errorf("-ttl %s: must be whole seconds, 1s to %s", o.ttl, maxTTL)
	case o.rounds < 1 || o.rounds > maxRounds:
		return fmt.Errorf("-rounds %d: must be 1 to %d", o.rounds, maxRounds)
	case o.parallel < 1 || o.parallel > maxParallel:
		return fmt.Errorf("-parallel %d: must be 1 to %d", o.parallel, maxParallel)
	case o.duration > 0 && o.replay != "":
		return errors.New("-duration and -replay exclude each other")
	}
	return nil
}

// choose makes the schedule.
func (o *options) choose(only string) (err error) {
	if o.seed == 0 {
		o.seed = rand.Uint64() >> 1 // a number that fits everywhere
	}
	if only != "" && (o.replay != "" || o.duration > 0) {
		return fmt.Errorf("-only %s: neither -replay nor -duration can be limited to some", only)
	}
	if o.replay != "" {
		o.schedule, err = chaos.ReadSchedule(o.replay)
		return err
	}
	scenarios, systems, err := admits(only)
	if err != nil {
		return err
	}
	o.schedule = chaos.NewSchedule(o.seed, o.ttl, o.rounds, func(scenario, system string) bool {
		return matches(scenarios, scenario) && matches(systems, system)
	})
	if len(o.schedule.Entries) == 0 {
		return fmt.Errorf("-only %s: these systems do not go through these scenarios; -list says which do", only)
	}
	return nil
}

// admits sorts the words of -only into those that are part of a scenario's name and
// those that are part of a system's.
func admits(only string) (scenarios, systems []string, err error) {
	for word := range strings.SplitSeq(only, ",") {
		word = strings.TrimSpace(word)
		switch {
		case word == "":
		case slices.ContainsFunc(chaos.Scenarios(), func(s chaos.Scenario) bool { return strings.Contains(s.Name, word) }):
			scenarios = append(scenarios, word)
		case slices.ContainsFunc(chaos.Systems(), func(s chaos.System) bool { return strings.Contains(s.Name, word) }):
			systems = append(systems, word)
		default:
			return nil, nil, fmt.Errorf("-only %s: no such scenario or system; -list shows them", word)
		}
	}
	return scenarios, systems, nil
}

// matches reports whether one of the words is part of the name, or there are none.
func matches(words []string, name string) bool {
	return len(words) == 0 || slices.ContainsFunc(words, func(w string) bool { return strings.Contains(name, w) })
}

// list says what there is.
func list() string {
	var b strings.Builder
	b.WriteString("Systems\n")
	for _, s := range chaos.Systems() {
		control := ""
		if s.Control {
			control = ", a control"
		}
		fmt.Fprintf(&b, "  %-15s %s%s\n", s.Name, s.Meaning, control)
	}
	b.WriteString("\nScenarios\n")
	for _, s := range chaos.Scenarios() {
		fmt.Fprintf(&b, "  %s\n%s", s.Name, indent(s.Meaning))
	}
	return b.String()
}
