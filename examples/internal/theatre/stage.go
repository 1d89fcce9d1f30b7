package theatre

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/cluster"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lock"
)

const (
	promptly = time.Second // for the next in office when one ends in good order

	// Ended is the message of the line that is heard last of a copy.
	Ended = "ended"
)

// Stage is where things are done to copies of a program.
type Stage struct {
	Script

	// Client is one of the etcd.
	Client *clientv3.Client
	// TTL is that of the copies' leases.
	TTL time.Duration
	// Hear is called with each line that a copy logs, while Until waits. It tells what there
	// is to tell of it, and fails if that should not have been.
	Hear func(Line) error

	play     *Play
	slack    time.Duration
	etcd     *cluster.Cluster
	end      context.CancelCauseFunc
	copies   map[string]*process.Process
	proxies  []*netfault.Proxy
	cleanups []func() error

	mu      sync.Mutex
	unheard []Line
	offices map[string]Office    // by copy and token
	heard   map[string]time.Time // when last, by copy and message
}

// Line is what a copy logs.
type Line struct {
	Copy string `json:"-"`
	Time time.Time
	Msg  string
	// Detail is what there is to say of the end of a copy, if the message is [Ended].
	Detail string `json:"-"`
	// Text is all of it, as JSON.
	Text json.RawMessage `json:"-"`
}

// Read reads more of the line.
func (l Line) Read(into any) error {
	if err := json.Unmarshal(l.Text, into); err != nil {
		return fmt.Errorf("%s logs %s: %w", l.Copy, l.Text, err)
	}
	return nil
}

// Office is the time for which a copy was in office, by what it has logged: Until is the
// latest deadline that it has named, or when it stopped if that was before.
type Office struct {
	Copy, Address string
	Token         lock.Token
	Since, Until  time.Time
}

// Start starts a copy of the program, which is not to end by itself. Of a flag that is
// given twice, as -endpoints may be, the later counts.
func (s *Stage) Start(name string, args ...string) {
	s.start(name, args, func(detail string) string {
		if detail != "" {
			s.end(errors.New(detail))
		}
		return detail
	})
}

// Run starts a copy of the program that may end by itself.
func (s *Stage) Run(name string, args ...string) {
	s.start(name, args, func(detail string) string { return strings.TrimPrefix(detail, name+" ended by itself") })
}

func (s *Stage) start(name string, args []string, exited func(detail string) string) {
	s.Do(func() error {
		args = append([]string{"-endpoints", s.etcd.Spec().Endpoints[0], "-ttl", s.TTL.String()}, args...)
		p, err := process.Start(name, copyRole, args, func(text json.RawMessage) { s.note(name, text) }, func(detail string) {
			s.add(Line{Copy: name, Time: time.Now(), Msg: Ended, Detail: exited(detail)})
		})
		if err == nil {
			s.copies[name] = p
		}
		return err
	})
}

// Copy returns the process of a copy that was started.
func (s *Stage) Copy(name string) *process.Process { return s.copies[name] }

// Proxy starts a proxy before etcd. Its address is what -endpoints of a copy may be.
func (s *Stage) Proxy() (p *netfault.Proxy) {
	s.Do(func() (err error) {
		if p, _, err = s.etcd.Proxy(); err == nil {
			s.proxies = append(s.proxies, p)
			s.Cleanup(p.Close)
		}
		return err
	})
	return p
}

// Cleanup has something done when all copies have ended.
func (s *Stage) Cleanup(do func() error) { s.cleanups = append(s.cleanups, do) }

// note takes note of what a copy logs.
func (s *Stage) note(name string, text json.RawMessage) {
	l := Line{Copy: name, Text: text}
	if l.Read(&l) != nil {
		return // it is no line of a log
	}
	s.add(l)
	var now struct {
		Until   time.Time
		Address string
		Token   lock.Token
	}
	if s.play.Owner == nil || l.Read(&now) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := name + " " + now.Token.String()
	o, known := s.offices[key]
	switch {
	case !known && !now.Until.IsZero():
		o = Office{name, now.Address, now.Token, l.Time, now.Until}
	case known && l.Msg == "stopped" && l.Time.Before(o.Until):
		o.Until = l.Time
	case known && now.Until.After(o.Until):
		o.Until = now.Until
	default:
		return
	}
	s.offices[key] = o
}

func (s *Stage) add(l Line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unheard = append(s.unheard, l)
	s.heard[l.Copy+" "+l.Msg] = l.Time
}

// Until waits until a condition holds, and hears what the copies log meanwhile.
func (s *Stage) Until(ctx context.Context, what string, cond func() bool) {
	s.Script.Until(ctx, what, func() bool {
		s.mu.Lock()
		lines := s.unheard
		s.unheard = nil
		s.mu.Unlock()
		for _, l := range lines {
			s.Do(func() error { return s.Hear(l) })
		}
		return s.Failed == nil && cond()
	})
}

// Heard returns when a copy last logged a message.
func (s *Stage) Heard(name, message string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard[name+" "+message]
}

// Check fails if two were in office at a time, or a token did not rise.
func Check(offices ...Office) error {
	slices.SortFunc(offices, func(a, b Office) int { return a.Since.Compare(b.Since) })
	for i := 1; i < len(offices); i++ {
		if a, b := offices[i-1], offices[i]; b.Since.Before(a.Until) || b.Token <= a.Token {
			return fmt.Errorf("%s was in office until %s, token %s, and %s from %s, token %s", a.Copy, a.Until, a.Token, b.Copy, b.Since, b.Token)
		}
	}
	return nil
}

// InOffice waits until a copy other than the one named is in office, as the copy logs and
// as etcd has it.
func (s *Stage) InOffice(ctx context.Context, other string) (found Office) {
	s.Until(ctx, "another copy in office", func() bool {
		s.mu.Lock()
		all := slices.Collect(maps.Values(s.offices))
		s.mu.Unlock()
		if len(all) == 0 {
			return false
		}
		if found = slices.MaxFunc(all, func(a, b Office) int { return cmp.Compare(a.Token, b.Token) }); found.Copy == other {
			return false
		}
		limited, cancel := context.WithTimeout(ctx, s.Patience)
		defer cancel()
		token, err := s.play.Owner(limited, s.Client)
		return err == nil && token == found.Token
	})
	return found
}

// Kill kills the one in office, and waits for the next.
func (s *Stage) Kill(ctx context.Context) (gone, next Office) {
	gone = s.InOffice(ctx, "")
	return gone, s.succeed(ctx, gone, "is killed (SIGKILL)", s.TTL+time.Second, s.copies[gone.Copy].Kill)
}

// Terminate tells the one in office to end, and waits for that and for the next.
func (s *Stage) Terminate(ctx context.Context) (gone, next Office) {
	gone = s.InOffice(ctx, "")
	next = s.succeed(ctx, gone, "is told to end (SIGTERM)", promptly, s.copies[gone.Copy].Terminate)
	s.awaitEnd(ctx, gone.Copy)
	return gone, next
}

// Pause stops the one in office, waits for the next, and lets the first go on.
func (s *Stage) Pause(ctx context.Context) {
	gone, began := s.InOffice(ctx, ""), time.Now()
	p := s.copies[gone.Copy]
	s.succeed(ctx, gone, "is paused (SIGSTOP)", s.TTL+time.Second, func() error { return p.Pause(ctx) })
	s.Do(p.Resume)
	s.Until(ctx, gone.Copy+" stopping", func() bool { return s.Heard(gone.Copy, "stopped").After(began) })
	s.Say(s.Styles.Good, "%s goes on, and stops: it is not in office any more", gone.Copy)
}

// Dismiss closes the input of a copy that was killed, which is that of what it has started,
// too, and waits for the end of that.
func (s *Stage) Dismiss(ctx context.Context, name string) {
	s.Do(func() error { s.copies[name].Ask(); return nil })
	s.awaitEnd(ctx, name)
}

func (s *Stage) awaitEnd(ctx context.Context, name string) {
	s.Until(ctx, "the end of "+name, func() bool { return !s.Heard(name, Ended).IsZero() })
}

// succeed does something to the one in office and waits for the next, which has so long.
func (s *Stage) succeed(ctx context.Context, gone Office, what string, within time.Duration, do func() error) Office {
	began := time.Now()
	s.Do(do)
	s.Say(s.Styles.Title, "%s %s", gone.Copy, what)
	next := s.InOffice(ctx, gone.Copy)
	took := max(next.Since.Sub(began), 0)
	s.Do(func() error {
		if took > within+s.slack {
			return fmt.Errorf("%s was in office %s later, %s is promised", next.Copy, took, within)
		}
		return nil
	})
	s.Say(s.Styles.Good, "%s is in office %s later, with token %s", next.Copy, screen.Short(took), next.Token)
	return next
}
