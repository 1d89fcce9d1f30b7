package theatre

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lock"
)

// Roles of processes.
const (
	copyRole    = "copy"
	commandRole = "command"
)

// Play is a program, and what is done to copies of it.
type Play struct {
	// Name is the program's, and About says what there is to see.
	Name, About string
	// Program is what main would be in a copy. It takes -endpoints and -ttl. If there is an
	// office, it logs its "token" and "until" when while it is in it, as often as it likes,
	// and "stopped" last.
	Program func(ctx context.Context, args []string) error
	// Flags adds what flags the play has of its own, if any, and returns what finds out what
	// is wrong with their values.
	Flags func(fs *flag.FlagSet) (check func() error)
	// Owner returns the token of the one in office as etcd has it, 0 if there is none. It is
	// nil if there is no such office.
	Owner func(ctx context.Context, client *clientv3.Client) (lock.Token, error)
	// Acts does things to copies of the program.
	Acts func(ctx context.Context, s *Stage)
	// Command is what this executable does when a copy runs it, nil if none does.
	Command process.Role
}

// Main is the main of an example: the program if an etcd is named, and otherwise the play,
// on an embedded one. It does not return.
func (p *Play) Main() {
	process.Main(map[string]process.Role{copyRole: p.runCopy, commandRole: p.Command})
	named := func(arg string) bool { return strings.HasPrefix(strings.Replace(arg, "--", "-", 1), "-endpoints") }
	if os.Getenv(cluster.Variable("endpoints")) != "" || slices.ContainsFunc(os.Args[1:], named) {
		program.Exit(p.Name, p.Program(context.Background(), os.Args[1:]))
	}
	program.Exit(p.Name, p.run(context.Background(), os.Args[1:], os.Stdout))
}

// runCopy is the program as a process of the play, which reads its log.
func (p *Play) runCopy(ctx context.Context, line *process.Line) error {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil)))
	if err := os.Setenv(process.Variable, commandRole); err != nil { // for what it runs
		return err
	}
	var args []string
	return line.Serve(ctx, &args, func(string) {}, func(ctx context.Context) error { return p.Program(ctx, args) })
}

// run is the play as its user sees it.
func (p *Play) run(ctx context.Context, args []string, out *os.File) error {
	s := &Stage{
		Hear: func(Line) error { return nil }, play: p, copies: make(map[string]*process.Process),
		offices: make(map[string]Office), heard: make(map[string]time.Time),
	}
	fs, etcd := flag.NewFlagSet(p.Name, flag.ContinueOnError), &cluster.Flags{}
	// The default is the shortest that etcd with its default election timeout grants.
	fs.DurationVar(&s.TTL, "ttl", 2*time.Second, "TTL of the leases, whole seconds")
	if p.Owner != nil {
		fs.DurationVar(&s.slack, "slack", time.Second, "how much later than promised a busy machine may be")
	}
	check := func() error { return nil }
	if p.Flags != nil {
		check = p.Flags(fs)
	}
	usage := "usage: " + p.Name + " [flags]; -h explains them, -endpoints runs the program itself"
	err := program.Help{Usage: usage, About: p.About}.Parse(fs, args, out, func() error { return errors.Join(check(), etcd.Check(s.TTL)) })
	if err != nil {
		return err
	}
	ctx, s.end = program.Interruptible(ctx)
	if s.etcd, err = cluster.Open(ctx, etcd); err != nil {
		return program.CauseOr(ctx, err)
	}
	s.Script = Script{Acts: screen.NewActs(out, s.end), Patience: 20*time.Second + 3*s.TTL + s.slack}
	s.Printf("TTL %s, %s\n", s.TTL, s.etcd)
	return errors.Join(program.CauseOr(ctx, s.perform(ctx)), s.etcd.Close())
}

// perform plays the acts and sums up.
func (s *Stage) perform(ctx context.Context) (err error) {
	if s.Client, err = s.etcd.Spec().Dial(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Client.Close()) }()
	s.play.Acts(ctx, s)
	for _, p := range s.proxies {
		p.Heal() // so that all can end in good order
	}
	quit := workers.Quit(slices.Collect(maps.Values(s.copies))...)
	for _, do := range s.cleanups {
		quit = errors.Join(quit, do())
	}
	if s.play.Owner != nil {
		s.Do(func() error { return Check(slices.Collect(maps.Values(s.offices))...) })
		s.Conclude("Never two in office before their deadlines, and tokens only rose.")
	}
	return errors.Join(s.Failed, quit)
}
