package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/conclavegrpc"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/watch"
)

const (
	service    = "whoami"
	patience   = 20 * time.Second     // for a call
	pause      = 2 * time.Millisecond // between calls of one caller
	afterwards = 100                  // calls that an act watches at its end
)

// show does things to servers, and watches the registry, the servers' logs and the calls.
type show struct {
	*theatre.Stage

	callers  int
	registry *watch.Cache[conclavegrpc.Endpoint]
	conn     *grpc.ClientConn
	table    [][]string // of the acts that were completed

	mu    sync.Mutex
	tally map[string]int // of "calls", "failed", "s1" (its answers), and errors
}

func (s *show) flags(fs *flag.FlagSet) (check func() error) {
	fs.IntVar(&s.callers, "callers", 4, "`number` of clients that call constantly")
	return func() error {
		if s.callers < 1 || s.callers > 100 {
			return fmt.Errorf("-callers %d: must be 1 to 100", s.callers)
		}
		return nil
	}
}

func (s *show) acts(ctx context.Context, stage *theatre.Stage) {
	s.Stage, s.tally = stage, make(map[string]int)
	s.Hear = hear
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the clients' log would disturb the picture
	if s.Do(func() error { return s.open(ctx) }); s.Failed != nil {
		return
	}
	playing, stop := context.WithCancel(ctx)
	var calling sync.WaitGroup
	s.act("three servers", "1/4  Three servers register; clients find them and call them in turns.", 0, func() {
		s.register(ctx)
		for range s.callers {
			calling.Go(func() { s.callOn(playing) })
		}
		s.takeTurns(ctx, "s1", "s2", "s3")
	})
	s.act("s2 drained", "2/4  s2 is drained: it leaves the registry before it goes.", 0, func() { s.drain(ctx) })
	// Each caller has at most one call under way.
	s.act("s3 killed", "3/4  s3 is killed: its registration disappears when its lease has ended.", s.callers, func() { s.kill(ctx) })
	s.act("etcd stopped", "4/4  etcd is stopped until all leases are lost, and started again.", 0, func() { s.outage(ctx) })
	stop()
	calling.Wait()
	s.Printf("%s", screen.Table([]string{"", "calls", "failed"}, s.table, s.Width()))
}

// hear fails if a server has failed. Each may say that etcd did not confirm the end of its
// registration in time: on a busy machine that is late, and no call fails.
func hear(l theatre.Line) error {
	if l.Msg == theatre.Ended && l.Detail != "" && !strings.Contains(l.Detail, "has not confirmed") {
		return errors.New(l.Detail)
	}
	return nil
}

// open begins to watch the registry, and to find servers in it.
func (s *show) open(ctx context.Context) (err error) {
	decode := func(_ string, value []byte) (e conclavegrpc.Endpoint, err error) { return e, json.Unmarshal(value, &e) }
	if s.registry, err = watch.NewCache(ctx, s.Client, service+"/", decode); err != nil {
		return err
	}
	s.Cleanup(func() error { return s.registry.Close(context.WithoutCancel(ctx)) })
	if s.conn, err = connect(s.Client, service); err == nil {
		s.Cleanup(s.conn.Close)
	}
	return err
}

// act is one thing that is done while calls are made, of which so many may fail.
func (s *show) act(name, intro string, mayFail int, play func()) {
	before := s.since(nil)
	s.Act("%s", intro)
	s.Do(func() error { play(); return nil })
	s.Do(func() error { return s.judge(name, s.since(before), mayFail) })
}

// judge adds a row to the table. It fails if too many calls have failed.
func (s *show) judge(name string, t map[string]int, mayFail int) error {
	style, err := s.Styles.Good, error(nil)
	if t["failed"] > mayFail {
		style, err = s.Styles.Bad, fmt.Errorf("%s: %d calls failed, expected are %d at most: %v", name, t["failed"], mayFail, t)
	} else if t["failed"] > 0 {
		style = lipgloss.Style{}
	}
	s.table = append(s.table, []string{name, strconv.Itoa(t["calls"]), style.Render(strconv.Itoa(t["failed"]))})
	return err
}

func (s *show) register(ctx context.Context) {
	s.start(ctx, "s1", about{"a", "1.0"})
	s.start(ctx, "s2", about{"b", "1.0"})
	s.start(ctx, "s3", about{"a", "1.1"})
}

func (s *show) drain(ctx context.Context) {
	s.Do(s.Copy("s2").Terminate)
	s.Until(ctx, "s2 leaving the registry", func() bool { return !s.has("s2") })
	s.Say(s.Styles.Title, "s2 is told to end (SIGTERM), and is taken out of the registry")
	before := s.since(nil)
	s.AwaitEnd(ctx, "s2")
	s.Say(lipgloss.Style{}, "s2 served for another %s and stops; of the calls that came meanwhile it answered %d", drainGrace, s.since(before)["s2"])
	s.takeTurns(ctx, "s1", "s3")
}

func (s *show) kill(ctx context.Context) {
	s.Until(ctx, "both servers", func() bool { return s.has("s1") && s.has("s3") }) // on a busy machine leases end
	before, began := s.since(nil), time.Now()
	s.Do(s.Copy("s3").Kill)
	s.Say(s.Styles.Title, "s3 is killed (SIGKILL)")
	s.Until(ctx, "s3 leaving the registry", func() bool { return !s.has("s3") })
	t := s.since(before)
	s.Say(lipgloss.Style{}, "s3 disappears, %s after the kill (TTL %s)", screen.Short(time.Since(began)), s.TTL)
	s.Say(lipgloss.Style{}, "%d calls meanwhile, %d failed: at most those that it was answering", t["calls"], t["failed"])
	s.start(ctx, "s4", about{"b", "1.1"})
	s.takeTurns(ctx, "s1", "s4")
}

func (s *show) outage(ctx context.Context) {
	names := []string{"s1", "s4"}
	s.Until(ctx, "both servers", func() bool { return s.has("s1") && s.has("s4") })
	old, before, began := s.registry.Snapshot(), s.since(nil), time.Now()
	s.Do(func() error { return s.Etcd.Kill(0) })
	s.Say(s.Styles.Title, "etcd is stopped")
	for _, name := range names {
		s.Until(ctx, "the loss of the lease of "+name, func() bool { return s.Heard(name, "lease: lost").After(began) })
		s.Say(lipgloss.Style{}, "%s has lost its lease, and goes on answering", name)
	}
	t := s.since(before)
	s.Say(lipgloss.Style{}, "%d calls meanwhile, %d failed: clients keep using the last known addresses", t["calls"], t["failed"])
	s.Do(func() error { return s.Etcd.Restart(ctx, 0) })
	began = time.Now()
	s.Say(s.Styles.Title, "etcd is started again, with the data that it had")
	for _, name := range names {
		was, _ := old.Get(service + "/" + name)
		s.Until(ctx, "a new lease of "+name, func() bool { return s.has(name) && s.entry(name).Lease != was.Lease })
		s.Say(lipgloss.Style{}, "%s is registered under a new lease, %s later", name, screen.Short(time.Since(began)))
	}
	s.takeTurns(ctx, names...)
}

// start starts a server and waits until it is in the registry.
func (s *show) start(ctx context.Context, name string, a about) {
	s.Run(name, "-name", name, "-zone", a.Zone, "-version", a.Version)
	s.Until(ctx, name+" in the registry", func() bool { return s.has(name) })
	s.Say(lipgloss.Style{}, "%s registers: %s, zone %s, version %s", name, s.entry(name).Value.Addr, a.Zone, a.Version)
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
	for tick := time.Tick(pause); ctx.Err() == nil; <-tick {
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
	item, _ := s.registry.Get(service + "/" + name)
	return item
}

func (s *show) has(name string) bool { return s.entry(name).Lease != 0 }
