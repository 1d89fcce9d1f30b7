package theatre

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lock"
)

const (
	promptly = time.Second // for the next in office when one ends in good order
	ended    = "ended"     // what is heard last of a copy
)

// Stage is where things are done to copies of a program.
type Stage struct {
	Script

	// Client is one of the etcd.
	Client *clientv3.Client

	play       *Play
	ttl, slack time.Duration
	endpoints  string
	end        context.CancelCauseFunc
	copies     map[string]*process.Process

	mu      sync.Mutex
	offices map[string]Office    // by copy and token
	heard   map[string]time.Time // when last, by copy and message
}

// Office is the time for which a copy was in office, by what it has logged: Until is the
// latest deadline that it has named, or when it stopped if that was before.
type Office struct {
	Copy, Address string
	Token         lock.Token
	Since, Until  time.Time
}

// line is what a copy logs.
type line struct {
	Time, Until  time.Time
	Msg, Address string
	Token        lock.Token
}

// Start starts a copy of the program.
func (s *Stage) Start(name string, args ...string) {
	s.Do(func() error {
		args = append([]string{"-endpoints", s.endpoints, "-ttl", s.ttl.String()}, args...)
		p, err := process.Start(name, copyRole, args, func(l line) { s.note(name, l) }, func(detail string) {
			s.note(name, line{Time: time.Now(), Msg: ended})
			if detail != "" {
				s.end(errors.New(detail))
			}
		})
		if err == nil {
			s.copies[name] = p
		}
		return err
	})
}

func (s *Stage) note(name string, l line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard[name+" "+l.Msg] = l.Time
	key := name + " " + l.Token.String()
	o, known := s.offices[key]
	switch {
	case !known && !l.Until.IsZero():
		o = Office{name, l.Address, l.Token, l.Time, l.Until}
	case known && l.Msg == "stopped" && l.Time.Before(o.Until):
		o.Until = l.Time
	case known && l.Until.After(o.Until):
		o.Until = l.Until
	default:
		return
	}
	s.offices[key] = o
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
	return gone, s.succeed(ctx, gone, "is killed (SIGKILL)", s.ttl+time.Second, s.copies[gone.Copy].Kill)
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
	s.succeed(ctx, gone, "is paused (SIGSTOP)", s.ttl+time.Second, func() error { return p.Pause(ctx) })
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
	s.Until(ctx, "the end of "+name, func() bool { return !s.Heard(name, ended).IsZero() })
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
