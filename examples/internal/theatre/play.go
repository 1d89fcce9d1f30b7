package theatre

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/report"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// Roles of processes.
const (
	copyRole    = "copy"
	rivalRole   = "rival"
	commandRole = "command"
)

// Play is a program, and what is done to copies of it.
type Play struct {
	// Name is the program's, Title what a page of it is called, and About says what there is
	// to see.
	Name, Title, About string
	// Program would be main in a copy. It takes -endpoints and -ttl. If there is an
	// office, it logs its "token" and "until" when while it is in it, as often as it likes,
	// and "stopped" last, with the reason as "lost" if it did not give the office up. It may
	// log that it is "waiting".
	Program func(ctx context.Context, args []string) error
	// Rival is a program that does the same in another way, without deadlines, nil if there
	// is none. It is not judged.
	Rival func(ctx context.Context, args []string) error
	// Servers starts what the copies work on, nil if that is an etcd, and Where is the flag
	// of the program that says where they are.
	Servers func(ctx context.Context) (Servers, error)
	Where   string
	// Flags adds what flags the play has of its own, if any, and returns what finds out what
	// is wrong with their values.
	Flags func(fs *flag.FlagSet) (check func() error)
	// Owner returns the token of the active one as etcd has it, 0 if there is none. It is
	// nil if there is no such office.
	Owner func(ctx context.Context, client *clientv3.Client) (lock.Token, error)
	// Verb says what the active one does: "holds", "leads".
	Verb string
	// Acts does things to copies of the program. In its place there may be Scenes, of which
	// the user can choose.
	Acts func(ctx context.Context, s *Stage)
	// Scenes are acts in their order.
	Scenes []Scene
	// Columns name what [Stage.Measured] says of an act.
	Columns []string
	// Board is what a terminal shows besides what is told, nil for nothing.
	Board *Board
	// Command is what this executable does when a copy runs it, nil if none does.
	Command process.Role
}

// Servers are what copies of a program work on.
type Servers struct {
	// Addresses are where they are, Text says what they are, and Close ends them.
	Addresses, Text string
	Close           func() error
}

// Scene is an act with a name.
type Scene struct {
	// Name is what the user calls it, and Intro a sentence.
	Name, Intro string
	// Key plays it on a terminal when all acts have been played, if the user has not named
	// any.
	Key string
	// Play plays it.
	Play func(ctx context.Context, s *Stage)
}

// Main is the main of an example: the program if servers are named, and otherwise the play, on
// servers of its own. It does not return.
func (p *Play) Main() {
	process.Main(map[string]process.Role{copyRole: run(p.Program), rivalRole: run(p.Rival), commandRole: p.Command})
	p.Where = cmp.Or(p.Where, "-endpoints")
	named := func(arg string) bool { return strings.HasPrefix(strings.Replace(arg, "--", "-", 1), p.Where) }
	if p.Servers == nil && os.Getenv("ETCDCTL_ENDPOINTS") != "" || slices.ContainsFunc(os.Args[1:], named) {
		program.Exit(p.Name, p.Program(context.Background(), os.Args[1:]))
	}
	program.Exit(p.Name, p.run(context.Background(), os.Args[1:], os.Stdout))
}

// run is a program as a process of the play, which reads its log.
func run(program func(ctx context.Context, args []string) error) process.Role {
	return func(ctx context.Context, line *process.Line) error {
		slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil)))
		if err := os.Setenv(process.Variable, commandRole); err != nil { // for what it runs
			return err
		}
		var args []string
		return line.Serve(ctx, &args, func(string) {}, func(ctx context.Context) error { return program(ctx, args) })
	}
}

// options are what the command line says of a play, besides its own flags.
type options struct {
	html  *string
	acts  string
	times int
	plain bool
}

// parse reads the command line.
func (s *Stage) parse(args []string, out *os.File) (o options, err error) {
	p, fs := s.play, flag.NewFlagSet(s.play.Name, flag.ContinueOnError)
	// The default is the shortest that etcd with its default election timeout grants.
	fs.DurationVar(&s.TTL, "ttl", 2*time.Second, "TTL of the leases, whole seconds")
	fs.BoolVar(&o.plain, "plain", false, "plain lines, as in a pipe or with NO_COLOR")
	fs.BoolVar(&s.verbose, "v", false, "plain lines, also of all that the copies log")
	o.html = new(string)
	if p.Owner != nil {
		o.html = report.Flag(fs)
		fs.DurationVar(&s.slack, "slack", time.Second, "how much later than promised a busy machine may be")
	}
	if len(p.Scenes) > 0 {
		fs.IntVar(&o.times, "times", 1, "`number` of times to play each act")
		fs.StringVar(&o.acts, "acts", strings.Join(p.sceneNames(), ","), "`names` of the acts to play, in any order")
	}
	check := func() error { return nil }
	if p.Flags != nil {
		check = p.Flags(fs)
	}
	usage := "usage: " + p.Name + " [flags]; -h explains them, " + p.Where + " runs the program itself"
	return o, program.Help{Usage: usage, About: p.About}.Parse(fs, args, out, func() error {
		if s.TTL%time.Second != 0 || s.TTL < lease.MinTTL || s.TTL > lease.MaxTTL {
			return fmt.Errorf("-ttl %s: must be whole seconds, %s to %s", s.TTL, lease.MinTTL, lease.MaxTTL)
		}
		_, err := p.chosen(o)
		return cmp.Or(program.Positive(fs), check(), err)
	})
}

func (p *Play) sceneNames() (names []string) {
	for _, scene := range p.Scenes {
		names = append(names, scene.Name)
	}
	return names
}

// chosen returns the scenes to play.
func (p *Play) chosen(o options) (chosen []Scene, err error) {
	if len(p.Scenes) > 0 && (o.times < 1 || o.times > 1000) {
		return nil, fmt.Errorf("-times %d: must be 1 to 1000", o.times)
	}
	for name := range strings.SplitSeq(o.acts, ",") {
		i := slices.Index(p.sceneNames(), name)
		if i < 0 && name != "" {
			return nil, fmt.Errorf("-acts %s: must be of %s", name, strings.Join(p.sceneNames(), ","))
		}
		for n := 0; i >= 0 && n < o.times; n++ {
			chosen = append(chosen, p.Scenes[i])
		}
	}
	return chosen, nil
}

// run is the play as its user sees it.
func (p *Play) run(ctx context.Context, args []string, out *os.File) (err error) {
	s := &Stage{Hear: func(Line) error { return nil }, play: p, record: newRecord(p.Owner != nil), keys: make(chan string, 1)}
	o, err := s.parse(args, out)
	if err != nil {
		return err
	}
	file, err := report.Open(*o.html)
	if err != nil {
		return program.Misuse(err, "usage: "+p.Name+" -html file")
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	ctx, s.end = program.Interruptible(ctx)
	if p.Servers == nil {
		p.Servers = s.startEtcd
	}
	if s.servers, err = p.Servers(ctx); err != nil {
		return program.CauseOr(ctx, err)
	}
	s.Script = Script{Acts: screen.NewActs(out, s.end), Patience: 20*time.Second + 3*s.TTL + s.slack}
	if o.plain || s.verbose {
		s.Plain()
	}
	s.Printf("TTL %s, %s\n", s.TTL, s.servers.Text)
	chosen, _ := p.chosen(o)
	s.keyed = p.keys() != "" && s.Live() && screen.Interactive(os.Stdin) && o.acts == strings.Join(p.sceneNames(), ",")
	err = program.CauseOr(ctx, s.perform(ctx, chosen))
	if broken := Check(s.record.judged()...); broken != nil {
		err = broken // an interruption is no excuse
	}
	if err == nil || errors.Is(err, program.ErrInterrupted) {
		s.Printf("%s", s.summary())
	}
	if err == nil && p.Owner != nil {
		s.Conclude("No two holders overlapped before their deadlines, and tokens only rose.")
	}
	return errors.Join(err, s.servers.Close(), file.Save(s.page(err), out))
}

// startEtcd starts the servers of most plays.
func (s *Stage) startEtcd(ctx context.Context) (Servers, error) {
	var err error
	if s.Etcd, err = etcdtest.Start(ctx); err != nil {
		return Servers{}, err
	}
	if s.Client, err = s.Etcd.NewClient(); err != nil {
		return Servers{}, errors.Join(err, s.Etcd.Close())
	}
	end := func() error { return errors.Join(s.Client.Close(), s.Etcd.Close()) }
	return Servers{s.Etcd.Endpoints()[0], "embedded etcd", end}, nil
}

// perform plays the acts, and checks what can be checked in the end.
func (s *Stage) perform(ctx context.Context, chosen []Scene) error {
	if b := s.play.Board; b != nil {
		s.record.ordered = b.Ordered
		following, stop := context.WithCancel(ctx)
		defer stop()
		go s.record.follow(following, s.Client, b.Queue) // ends with the context
		s.Show(s.draw, s.press)
	}
	if s.play.Acts != nil {
		s.play.Acts(ctx, s)
	}
	for i, scene := range chosen {
		number := ""
		if len(chosen) > 1 {
			number = fmt.Sprintf("%d/%d  ", i+1, len(chosen))
		}
		if len(s.keys) == 0 { // or the user has taken over
			s.playScene(ctx, number, scene)
		}
	}
	s.playKeys(ctx)
	s.Leave()
	var quit error
	for _, do := range s.cleanups {
		quit = errors.Join(quit, do())
	}
	return errors.Join(s.Failed, quit, s.Close())
}

func (s *Stage) playScene(ctx context.Context, number string, scene Scene) {
	s.begin(scene.Name, scene.Intro, "%s%s", number, scene.Intro)
	s.Do(func() error { scene.Play(ctx, s); return nil })
}

// press takes a key from the terminal.
func (s *Stage) press(key string) {
	if key == "q" && !s.free.Load() {
		s.end(program.ErrInterrupted)
		return
	}
	select {
	case s.keys <- key:
	default: // one at a time
	}
}

// playKeys plays the scenes of the keys that the user presses, if they are his, until he has
// seen enough.
func (s *Stage) playKeys(ctx context.Context) {
	if !s.keyed {
		return
	}
	s.Do(func() error { s.Printf("\n%s\n", s.Styles.Title.Render("The keys are yours.")); return nil })
	for s.Failed == nil {
		key := ""
		s.free.Store(true)
		for s.Failed == nil && key == "" {
			s.Watch(ctx, 50*time.Millisecond, func() {})
			select {
			case key = <-s.keys:
			default:
			}
		}
		if s.free.Store(false); key == "q" {
			return
		}
		for _, scene := range s.play.Scenes {
			if scene.Key == key {
				s.playScene(ctx, "", scene)
			}
		}
	}
}

// keys explains those that play scenes.
func (p *Play) keys() (all string) {
	for _, scene := range p.Scenes {
		if scene.Key != "" {
			all += scene.Key + " " + scene.Name + ", "
		}
	}
	return all
}

// summary is a table of what was measured in scenes, and what came of the others.
func (s *Stage) summary() string {
	if s.play.Scenes == nil {
		return ""
	}
	columns, all := s.figures()
	var rows [][]string
	for _, f := range all {
		if len(f.cells) > 0 {
			rows = append(rows, append([]string{f.name}, f.cells...))
		}
	}
	outcomes := ""
	for _, r := range s.results {
		if r.outcome != "" && s.play.Columns != nil {
			outcomes += "\n" + s.Wrap(r.name+": "+r.outcome)
		}
	}
	if outcomes != "" {
		outcomes += "\n"
	}
	return screen.Table(append([]string{""}, columns...), rows, s.Width()) + outcomes
}
