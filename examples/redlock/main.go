// Redlock hands a lock on Redis servers around among processes, and shows where it holds
// and where it breaks: servers are killed, hang, come back without their keys, have their
// clocks jump, and a holder is paused past its TTL.
//
//	go run ./examples/redlock                              # all that, on five servers of its own
//	go run ./examples/redlock -acts restart,jump -ttl 5s
//	go run ./examples/redlock -servers 1                   # the plain lock
//	go run ./examples/redlock -nodes a:6379,b:6379,c:6379  # the program itself, once or more
//
// What the lock protects is a file of invoices, each with the next number: two holders at
// once give a number twice, and nothing could prevent that, since Redlock has no token for
// the file to check. Examples handover and fencing show the same faults with the lock on
// etcd, which has.
//
// program.go is to be copied, and needs none of the other files. show.go does things to
// copies of it and to the servers, and judge.go judges the outcome: the exit code is 1 if it is
// not what package redlock documents.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/internal/tempdir"
)

const copyRole = "copy"

func main() {
	redistest.Quiet() // go-redis would log each connection that breaks
	process.Main(map[string]process.Role{copyRole: runCopy})
	named := func(arg string) bool { return strings.HasPrefix(strings.Replace(arg, "--", "-", 1), "-nodes") }
	if slices.ContainsFunc(os.Args[1:], named) {
		program.Exit("redlock", redlockMain(context.Background(), os.Args[1:]))
	}
	program.Exit("redlock", run(context.Background(), os.Args[1:], os.Stdout))
}

// runCopy is the program as a process of the show, which reads its log.
func runCopy(ctx context.Context, line *process.Line) error {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil)))
	var args []string
	return line.Serve(ctx, &args, func(string) {}, func(ctx context.Context) error { return redlockMain(ctx, args) })
}

// run is the show as its user sees it.
func run(ctx context.Context, args []string, out *os.File) error {
	s := &show{copies: make(map[string]*process.Process)}
	chosen, plain, err := s.parse(args, out)
	if err != nil {
		return err
	}
	ctx, s.end = program.Interruptible(ctx)
	s.Script = theatre.Script{Acts: screen.NewActs(out, s.end), Patience: 20*time.Second + 3*s.ttl}
	if plain || s.verbose {
		s.Plain()
	}
	dir, err := tempdir.Make("redlock")
	if err != nil {
		return err
	}
	s.dir = dir.Path()
	cluster, what, err := startServers(ctx, s.servers)
	if err != nil {
		return errors.Join(program.CauseOr(ctx, err), dir.Remove())
	}
	for i, n := range cluster.Nodes() {
		s.nodes = append(s.nodes, &node{n, i + 1, time.Now()})
	}
	s.Printf("TTL %s, %d %s\n", s.ttl, s.servers, what)
	if s.nodes[0].Embedded() {
		chosen = s.without("hang", chosen)
	}
	if len(chosen) == 0 {
		return errors.Join(errors.New("no act is left to play"), cluster.Close(), dir.Remove())
	}
	err = program.CauseOr(ctx, s.perform(ctx, chosen))
	return errors.Join(err, cluster.Close(), dir.Remove())
}

// without leaves out an act that cannot be played.
func (s *show) without(name string, acts []act) []act {
	left := slices.DeleteFunc(slices.Clone(acts), func(a act) bool { return a.name == name })
	if len(left) < len(acts) {
		s.Printf("Act %s is left out: it takes redis-server.\n", name)
	}
	return left
}

// startServers starts processes of redis-server, or servers in this process if there is no
// such program.
func startServers(ctx context.Context, n int) (c *redistest.Cluster, what string, err error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		c, err := redistest.StartEmbedded(n)
		return c, "servers of miniredis, as there is no redis-server", err
	}
	c, err = redistest.Start(ctx, n)
	return c, "processes of redis-server", err
}

// parse reads the command line.
func (s *show) parse(args []string, out *os.File) (chosen []act, plain bool, err error) {
	fs, names := flag.NewFlagSet("redlock", flag.ContinueOnError), ""
	for _, a := range s.acts() {
		names += "," + a.name
	}
	fs.DurationVar(&s.ttl, "ttl", 2*time.Second, "TTL of the lock")
	fs.IntVar(&s.servers, "servers", 5, "`number` of servers, odd; 1 for the plain lock")
	fs.StringVar(&names, "acts", names[1:], "`names` of the acts to play, separated by commas")
	fs.BoolVar(&plain, "plain", false, "plain lines, as in a pipe or with NO_COLOR")
	fs.BoolVar(&s.verbose, "v", false, "plain lines, also of all that the copies log")
	return chosen, plain, program.Help{
		Usage: "usage: redlock [flags]; -h explains them, -nodes runs the program itself",
		About: `Processes hand a Redlock to each other while servers are killed, hang, forget and
have their clocks jump, and a holder is paused: you see where it holds, and where it
breaks. With -nodes, this is one copy of the program on your own servers.`,
	}.Parse(fs, args, out, func() error {
		for name := range strings.SplitSeq(names, ",") {
			i := slices.IndexFunc(s.acts(), func(a act) bool { return a.name == name })
			if i < 0 {
				return fmt.Errorf("-acts %s: there is no such act, see -h", name)
			}
			chosen = append(chosen, s.acts()[i])
		}
		switch {
		case s.ttl%time.Millisecond != 0 || s.ttl < time.Second || s.ttl > time.Minute:
			return fmt.Errorf("-ttl %s: must be whole milliseconds, 1s to 1m", s.ttl)
		case s.servers < 1 || s.servers > 9 || s.servers%2 == 0:
			return fmt.Errorf("-servers %d: must be an odd number, 1 to 9", s.servers)
		}
		return nil
	})
}
