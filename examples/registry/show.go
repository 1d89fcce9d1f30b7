package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/conclavegrpc"
	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/watch"
)

const (
	patience   = 20 * time.Second // for a call, and beyond three TTLs for all else
	poll       = 2 * time.Millisecond
	afterwards = 100 // calls that an act watches at its end
)

// job is what a copy of this program needs to be a server.
type job struct {
	Server server
	Etcd   cluster.Spec
}

// runServer is the program as a server, whose log is read.
func runServer(ctx context.Context, line *process.Line) error {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil)))
	var j job
	return line.Serve(ctx, &j, func(string) {}, func(ctx context.Context) error {
		client, err := j.Etcd.Dial()
		if err != nil {
			return err
		}
		if err = j.Server.serve(ctx, client); err == nil {
			slog.Info("drained")
		}
		return errors.Join(err, client.Close())
	})
}

// show does things to servers, and watches the registry, the servers' logs and the calls. Once
// something has failed, it does nothing more.
type show struct {
	theatre.Script

	etcd     *cluster.Cluster
	end      context.CancelCauseFunc
	service  string
	ttl      time.Duration
	callers  int
	plain    bool
	verbose  bool
	registry *watch.Cache[conclavegrpc.Endpoint]
	conn     *grpc.ClientConn
	servers  map[string]*process.Process
	calling  sync.WaitGroup
	table    [][]string // of the acts that were completed
	broken   []error    // what should not have been in them

	mu     sync.Mutex
	logged []theatre.Line
	tally  map[string]int // of "calls", "failed", "s1" (its answers), "s1 drained" (lines of its log)
}

// perform plays the acts and sums up.
func (s *show) perform(ctx context.Context) (err error) {
	client, err := s.etcd.Spec().Dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	decode := func(_ string, value []byte) (e conclavegrpc.Endpoint, err error) { return e, json.Unmarshal(value, &e) }
	if s.registry, err = watch.NewCache(ctx, client, s.service+"/", decode); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.registry.Close(ctx)) }()
	if s.conn, err = connect(client, s.service); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.conn.Close()) }()
	playing, stop := context.WithCancel(ctx)
	s.play(playing)
	stop()
	s.calling.Wait()
	err = process.QuitAll(slices.Collect(maps.Values(s.servers))...)
	s.Printf("%s", screen.Table([]string{"", "calls", "failed"}, s.table, s.Width()))
	return errors.Join(append(s.broken, s.Failed, err)...)
}

func (s *show) play(ctx context.Context) {
	of := "/3  "
	if s.etcd.Embedded() {
		of = "/4  "
	}
	s.act(ctx, "three servers", "1"+of+"Three servers register; clients find them and call them in turns.", 0, s.register)
	s.act(ctx, "s2 drained", "2"+of+"s2 is drained: it leaves the registry before it goes.", 0, s.drain)
	// Each caller has at most one call under way.
	s.act(ctx, "s3 killed", "3"+of+"s3 is killed: its registration disappears when its lease has ended.", s.callers, s.kill)
	if s.etcd.Embedded() {
		s.act(ctx, "etcd stopped", "4"+of+"etcd is stopped until all leases are lost, and started again.", 0, s.outage)
	} else {
		s.Say(s.Styles.Dim, "(A last part stops etcd, which is left to the embedded one.)")
	}
}

// act is one thing that is done while calls are made, of which so many may fail.
func (s *show) act(ctx context.Context, name, intro string, mayFail int, play func(context.Context)) {
	before := s.since(nil)
	s.Act("%s", intro)
	if s.Failed == nil {
		play(ctx)
	}
	if s.Failed != nil {
		return
	}
	t, style := s.since(before), s.Styles.Good
	if t["failed"] > mayFail {
		style = s.Styles.Bad
		s.broken = append(s.broken, fmt.Errorf("%s: %d calls failed, expected are %d at most: %v", name, t["failed"], mayFail, t))
	} else if t["failed"] > 0 {
		style = lipgloss.Style{}
	}
	s.table = append(s.table, []string{name, strconv.Itoa(t["calls"]), style.Render(strconv.Itoa(t["failed"]))})
}

func (s *show) register(ctx context.Context) {
	s.start(ctx, "s1", about{"a", "1.0"})
	s.start(ctx, "s2", about{"b", "1.0"})
	s.start(ctx, "s3", about{"a", "1.1"})
	for range s.callers {
		s.calling.Go(func() { s.callOn(ctx) })
	}
	s.takeTurns(ctx, "s1", "s2", "s3")
}

func (s *show) drain(ctx context.Context) {
	s.servers["s2"].Ask()
	s.Until(ctx, "s2 leaving the registry", func() bool { return !s.has("s2") })
	s.Say(s.Styles.Title, "s2 is taken out of the registry")
	before := s.since(nil)
	s.Until(ctx, "the end of s2", func() bool { return s.since(nil)["s2 drained"] > 0 })
	s.Say(lipgloss.Style{}, "s2 served for another %s and stops; it answered %d calls that came meanwhile", drainGrace, s.since(before)["s2"])
	s.takeTurns(ctx, "s1", "s3")
}

func (s *show) kill(ctx context.Context) {
	s.Until(ctx, "both servers", func() bool { return s.has("s1") && s.has("s3") }) // on a busy machine leases end
	before, began := s.since(nil), time.Now()
	s.Do(s.servers["s3"].Kill)
	s.Say(s.Styles.Title, "s3 is killed (SIGKILL)")
	s.Until(ctx, "s3 leaving the registry", func() bool { return !s.has("s3") })
	t := s.since(before)
	s.Say(lipgloss.Style{}, "s3 disappears, %s after the kill (TTL %s)", screen.Short(time.Since(began)), s.ttl)
	s.Say(lipgloss.Style{}, "%d calls meanwhile, %d failed: at most those that it was answering", t["calls"], t["failed"])
	s.start(ctx, "s4", about{"b", "1.1"})
	s.takeTurns(ctx, "s1", "s4")
}

func (s *show) outage(ctx context.Context) {
	s.Until(ctx, "both servers", func() bool { return s.has("s1") && s.has("s4") })
	names, old, before := []string{"s1", "s4"}, s.registry.Snapshot(), s.since(nil)
	s.Do(s.etcd.Stop)
	s.Say(s.Styles.Title, "etcd is stopped")
	for _, name := range names {
		s.Until(ctx, "the loss of the lease of "+name, func() bool { return s.since(before)[name+" lease: lost"] > 0 })
		s.Say(lipgloss.Style{}, "%s has lost its lease, and goes on answering", name)
	}
	t := s.since(before)
	s.Say(lipgloss.Style{}, "%d calls meanwhile, %d failed: clients keep using the last known addresses", t["calls"], t["failed"])
	s.Do(func() error { return s.etcd.Restart(ctx) })
	began := time.Now()
	s.Say(s.Styles.Title, "etcd is started again, with the data that it had")
	for _, name := range names {
		was, _ := old.Get(s.service + "/" + name)
		s.Until(ctx, "a new lease of "+name, func() bool { return s.has(name) && s.entry(name).Lease != was.Lease })
		s.Say(lipgloss.Style{}, "%s is registered under a new lease, %s later", name, screen.Short(time.Since(began)))
	}
	s.takeTurns(ctx, names...)
}

// start starts a server and waits until it is in the registry.
func (s *show) start(ctx context.Context, name string, a about) {
	s.Do(func() error {
		of := server{Service: s.service, Name: name, Listen: "127.0.0.1:0", About: a, TTL: s.ttl}
		logged := func(text json.RawMessage) {
			if l := (theatre.Line{Copy: name, Text: text}); l.Read(&l) == nil {
				s.count(name + " " + l.Msg)
				s.mu.Lock()
				defer s.mu.Unlock()
				s.logged = append(s.logged, l)
			}
		}
		p, err := process.Start(name, "server", job{of, s.etcd.Spec()}, logged, func(detail string) {
			if detail != "" {
				s.end(errors.New("server " + detail))
			}
		})
		if err == nil {
			s.servers[name] = p
		}
		return err
	})
	s.Until(ctx, name+" in the registry", func() bool { return s.has(name) })
	s.Say(lipgloss.Style{}, "%s registers: %s, zone %s, version %s", name, s.entry(name).Value.Addr, a.Zone, a.Version)
}

// Until waits until a condition holds, and with -v prints what the servers log meanwhile.
func (s *show) Until(ctx context.Context, what string, cond func() bool) {
	s.Script.Until(ctx, what, func() bool {
		s.mu.Lock()
		lines := s.logged
		s.logged = nil
		s.mu.Unlock()
		for _, l := range lines {
			if s.verbose {
				s.TellAt(l.Time, lipgloss.Style{}, "%s: %s", l.Copy, l)
			}
		}
		return cond()
	})
}

// takeTurns waits for more calls, until each of the servers has answered its share.
func (s *show) takeTurns(ctx context.Context, names ...string) {
	before, text := s.since(nil), ""
	for _, name := range names {
		s.Until(ctx, "answers of "+name, func() bool { return s.since(before)[name] >= afterwards/len(names) })
	}
	t := s.since(before)
	for _, name := range names {
		text += fmt.Sprintf(", %d by %s", t[name], name)
	}
	s.Say(s.Styles.Good, "%d calls%s", t["calls"], text)
}

// callOn calls the service all the time.
func (s *show) callOn(ctx context.Context) {
	for tick := time.Tick(poll); ctx.Err() == nil; <-tick {
		limited, cancel := context.WithTimeout(ctx, patience)
		name, err := ask(limited, s.conn)
		cancel()
		if err == nil {
			s.count("calls", name)
		} else if ctx.Err() == nil {
			s.count("calls", "failed", err.Error())
		}
	}
}

func (s *show) count(what ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range what {
		s.tally[w]++
	}
}

// since returns what has been counted since an earlier result, or nil.
func (s *show) since(earlier map[string]int) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := maps.Clone(s.tally)
	for what, n := range earlier {
		t[what] -= n
	}
	return t
}

func (s *show) entry(name string) watch.Item[conclavegrpc.Endpoint] {
	item, _ := s.registry.Get(s.service + "/" + name)
	return item
}

func (s *show) has(name string) bool { return s.entry(name).Lease != 0 }
