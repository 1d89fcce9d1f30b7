package theatre

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"charm.land/lipgloss/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/netfault"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/timeline"
)

const (
	promptly  = time.Second            // for the next to be active when one ends in good order
	aftermath = 300 * time.Millisecond // how long an act goes on after its event

	// Ended is the message of the line that is heard last of a copy.
	Ended = "ended"
)

// Stage is where things are done to copies of a program.
type Stage struct {
	Script

	// Etcd is the play's own, and Client a client of it, if there is one.
	Etcd   *etcdtest.Cluster
	Client *clientv3.Client
	// TTL is that of the copies' leases.
	TTL time.Duration
	// Hear is called with each line that a copy logs, while Until waits. It tells what there
	// is to tell of it, and fails if that should not have been.
	Hear func(Line) error

	play     *Play
	servers  Servers
	slack    time.Duration
	verbose  bool
	end      context.CancelCauseFunc
	proxies  []*netfault.Proxy
	cleanups []func() error
	record   *record
	act      *result // that is played, nil if none is
	results  []*result
	keys     chan string // that were pressed
	keyed    bool        // they play scenes
	free     atomic.Bool // no act is played
}

// Line is what a copy logs.
type Line struct {
	Copy string `json:"-"`
	Time time.Time
	Msg  string
	// Error is what it says of an error, if anything.
	Error string
	// Detail is what there is to say of the end of a copy, if the message is [Ended].
	Detail string `json:"-"`
	// Text is all of it, as JSON.
	Text json.RawMessage `json:"-"`
}

// String returns the line as slog's text handler does, without the time.
func (l Line) String() string {
	var all map[string]any
	_ = l.Read(&all) // it has been read before
	var text strings.Builder
	text.WriteString(l.Msg)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if key != slog.TimeKey && key != slog.LevelKey && key != slog.MessageKey {
			fmt.Fprintf(&text, " %s=%v", key, all[key])
		}
	}
	return text.String()
}

// Read reads more of the line.
func (l Line) Read(into any) error {
	if err := json.Unmarshal(l.Text, into); err != nil {
		return fmt.Errorf("%s logs %s: %w", l.Copy, l.Text, err)
	}
	return nil
}

// Start starts a copy of the program, which is not to end by itself. Of a flag that is
// given twice, as -endpoints may be, the later counts.
func (s *Stage) Start(name string, args ...string) { s.start(copyRole, name, args, s.unasked) }

// StartRival starts a copy of the play's rival, likewise.
func (s *Stage) StartRival(name string, args ...string) { s.start(rivalRole, name, args, s.unasked) }

// unasked ends the play if a copy has ended that was not told to.
func (s *Stage) unasked(detail string) string {
	if detail != "" {
		s.end(errors.New(detail))
	}
	return detail
}

// Run starts a copy of the program that may end by itself.
func (s *Stage) Run(name string, args ...string) {
	s.start(copyRole, name, args, func(detail string) string { return strings.TrimPrefix(detail, name+" ended by itself") })
}

func (s *Stage) start(role, name string, args []string, exited func(detail string) string) {
	s.Do(func() error {
		args = append([]string{s.play.Where, s.servers.Addresses, "-ttl", s.TTL.String()}, args...)
		c := s.record.enter(name, role == rivalRole)
		p, err := process.Start(name, role, args, func(text json.RawMessage) {
			l := Line{Copy: name, Text: text}
			if l.Read(&l) == nil { // or it is no line of a log
				s.record.add(l)
			}
		}, func(detail string) {
			s.record.add(Line{Copy: name, Time: time.Now(), Msg: Ended, Detail: exited(detail)})
		})
		if err == nil {
			s.record.seat(c, p)
		}
		return err
	})
}

// StartBehind starts a copy, by [Stage.Start] or one of its like, behind a proxy of its own,
// so that it can be cut off.
func (s *Stage) StartBehind(start func(name string, args ...string), name string, args ...string) {
	proxy := s.Proxy()
	s.Do(func() error {
		start(name, append(args, "-endpoints", proxy.Addr())...)
		return nil
	})
	s.Do(func() error { s.Copy(name).proxy = proxy; return nil })
}

// Copy returns a copy that was started.
func (s *Stage) Copy(name string) *Copy { return s.record.find(name) }

// Endpoint is where etcd is.
func (s *Stage) Endpoint() string { return s.Etcd.Endpoints()[0] }

// Proxy starts a proxy before etcd. Its address is what -endpoints of a copy may be.
func (s *Stage) Proxy() (p *netfault.Proxy) {
	s.Do(func() (err error) {
		if p, err = netfault.Start(s.Endpoint()); err == nil {
			s.proxies = append(s.proxies, p)
			s.Cleanup(p.Close)
		}
		return err
	})
	return p
}

// Cleanup has something done when all copies have ended.
func (s *Stage) Cleanup(do func() error) { s.cleanups = append(s.cleanups, do) }

// Until waits until a condition holds, and hears what the copies log meanwhile.
func (s *Stage) Until(ctx context.Context, what string, cond func() bool) {
	s.Script.Until(ctx, what, func() bool {
		s.hear()
		return s.Failed == nil && cond()
	})
}

func (s *Stage) hear() {
	for _, l := range s.record.take() {
		if s.verbose && l.Text != nil {
			s.TellAt(l.Time, s.Styles.Dim, "%s: %s", l.Copy, l)
		}
		s.Do(func() error { return s.Hear(l) })
	}
}

// Watch looks on for a while.
func (s *Stage) Watch(ctx context.Context, d time.Duration, look func()) {
	began, patience := time.Now(), s.Patience
	s.Patience += d
	s.Until(ctx, "the end of that time", func() bool { look(); return time.Since(began) >= d })
	s.Patience = patience
}

// Linger looks on until the outcome of an act has been seen.
func (s *Stage) Linger(ctx context.Context) { s.Watch(ctx, aftermath, func() {}) }

// Last returns the last line of a copy with a message.
func (s *Stage) Last(name, message string) Line { return s.record.last(name, message) }

// Heard returns when a copy last logged a message.
func (s *Stage) Heard(name, message string) time.Time { return s.Last(name, message).Time }

// InOffice waits until a copy other than the one named is active, as the copy logs and
// as etcd has it.
func (s *Stage) InOffice(ctx context.Context, other string) (found Office) {
	s.Until(ctx, "another active copy", func() bool {
		if found = s.record.latest(); found.Copy == "" || found.Copy == other || !found.Stopped.IsZero() {
			return false
		}
		if found.rival {
			return true
		}
		limited, cancel := context.WithTimeout(ctx, s.Patience)
		defer cancel()
		token, err := s.play.Owner(limited, s.Client)
		return err == nil && token == found.Token
	})
	return found
}

// inOffice says what the active one does.
func (s *Stage) inOffice() string { return cmp.Or(s.play.Verb, "is active") }

// Kill kills the active one, and waits for the next.
func (s *Stage) Kill(ctx context.Context) (gone, next Office) {
	gone = s.InOffice(ctx, "")
	return gone, s.Succeed(ctx, gone, "is killed (SIGKILL)", s.TTL+time.Second, func() error { return s.Copy(gone.Copy).Kill() })
}

// Terminate tells the active one to end, and waits for that and for the next.
func (s *Stage) Terminate(ctx context.Context) (gone, next Office) {
	gone = s.InOffice(ctx, "")
	next = s.Succeed(ctx, gone, "is told to end (SIGTERM)", promptly, func() error { return s.Copy(gone.Copy).Terminate() })
	s.AwaitEnd(ctx, gone.Copy)
	return gone, next
}

// Pause stops the active one, waits for the next, and lets the first go on.
func (s *Stage) Pause(ctx context.Context) (gone, next Office) {
	gone = s.InOffice(ctx, "")
	began := time.Now()
	next = s.Succeed(ctx, gone, "is paused (SIGSTOP)", s.TTL+time.Second, func() error { return s.Copy(gone.Copy).Pause(ctx) })
	s.Do(func() error { return s.Copy(gone.Copy).Resume() })
	s.Until(ctx, gone.Copy+" stopping", func() bool { return s.Heard(gone.Copy, "stopped").After(began) })
	s.Say(s.Styles.Good, "%s goes on, and stops: it is not active any more", gone.Copy)
	return gone, next
}

// PauseWriter pauses the active one, which writes all the time, when all is ready, and again if
// its write was not refused when it went on: that one was on its way when it was paused.
func (s *Stage) PauseWriter(ctx context.Context, lost error, ready func()) {
	for s.Failed == nil {
		ready()
		began := time.Now()
		gone, _ := s.Pause(ctx)
		s.Linger(ctx)
		if l := s.Last(gone.Copy, "not written"); l.Time.After(began) && strings.HasPrefix(l.Error, lost.Error()) {
			s.Found(s.Styles.Good, "%s's late write was refused: %s", gone.Copy, l.Error)
			s.record.mark(gone.Copy, timeline.Good, "late write refused")
			return
		}
	}
}

// Cut cuts the active one off from etcd until it has stopped and the next is active,
// and returns by how much earlier its time ended. It has to be behind a proxy.
func (s *Stage) Cut(ctx context.Context) (gone, next Office, before time.Duration) {
	gone = s.InOffice(ctx, "")
	began, c := time.Now(), s.Copy(gone.Copy)
	s.Do(c.Cut)
	s.Say(s.Styles.Title, "%s is cut off from etcd", gone.Copy)
	toldAt, nextAt := time.Time{}, time.Time{}
	s.Until(ctx, "the end of the time of "+gone.Copy, func() bool {
		if o := s.record.office(gone); toldAt.IsZero() && !o.Stopped.IsZero() {
			toldAt, gone = o.Stopped, o
			s.TellAt(toldAt, s.Styles.Good, "%s stops, %s after the cut: %s", o.Copy, screen.Short(toldAt.Sub(began)), cmp.Or(o.Lost, "by itself"))
		}
		if o := s.record.latest(); nextAt.IsZero() && o.Copy != gone.Copy {
			nextAt, next = o.Since, o
			s.TellAt(nextAt, s.Styles.Good, "%s %s %s after the cut, with token %s", o.Copy, s.inOffice(), screen.Short(nextAt.Sub(began)), o.Token)
		}
		return !toldAt.IsZero() && !nextAt.IsZero()
	})
	s.took(next.Since.Sub(began))
	if before = next.Since.Sub(gone.Until); s.act != nil && s.Failed == nil {
		s.act.before = append(s.act.before, before)
	}
	if before < 0 {
		s.Found(s.Styles.Bad, "%s's time ended %s AFTER %s's began: two at a time", gone.Copy, screen.Short(-before), next.Copy)
	} else {
		s.Found(s.Styles.Good, "%s's time ended %s before %s's began", gone.Copy, screen.Short(before), next.Copy)
	}
	s.Do(c.Heal)
	s.Say(s.Styles.Title, "the cut is healed")
	return gone, next, before
}

// Dismiss closes the input of a copy that was killed, which is that of what it has started,
// too, and waits for the end of that.
func (s *Stage) Dismiss(ctx context.Context, name string) {
	s.Do(func() error { s.Copy(name).Ask(); return nil })
	s.AwaitEnd(ctx, name)
}

// AwaitEnd waits for the end of a copy.
func (s *Stage) AwaitEnd(ctx context.Context, name string) {
	s.Until(ctx, "the end of "+name, func() bool { return !s.Heard(name, Ended).IsZero() })
}

// Succeed does something to the active one and waits for the next, which has so long.
func (s *Stage) Succeed(ctx context.Context, gone Office, what string, within time.Duration, do func() error) Office {
	began := time.Now()
	s.Do(do)
	s.Say(s.Styles.Title, "%s %s", gone.Copy, what)
	next := s.InOffice(ctx, gone.Copy)
	took := max(next.Since.Sub(began), 0)
	s.Do(func() error {
		if took > within+s.slack && !next.rival {
			return fmt.Errorf("%s was active %s later, %s is promised", next.Copy, took, within)
		}
		return nil
	})
	s.took(took)
	s.Found(s.Styles.Good, "%s %s %s later, with token %s", next.Copy, s.inOffice(), screen.Short(took), next.Token)
	return next
}

// Act introduces what is done next, and ends the act before.
func (s *Stage) Act(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if _, after, found := strings.Cut(text, "  "); found { // its number
		text = after
	}
	name, _, _ := strings.Cut(strings.TrimSuffix(text, "."), ":")
	s.begin(name, text, format, args...)
}

// begin is Act with a name.
func (s *Stage) begin(name, text, format string, args ...any) {
	s.Do(func() error {
		s.finish()
		s.Begin(format, args...)
		s.act = &result{name: name, text: text}
		s.record.begin(s.Began())
		return nil
	})
}

// Found tells what came of the act.
func (s *Stage) Found(style lipgloss.Style, format string, args ...any) {
	s.Do(func() error {
		s.Tell(style, format, args...)
		if s.act != nil {
			s.act.outcome = fmt.Sprintf(format, args...)
		}
		return nil
	})
}

// took notes how long it took until the next was active.
func (s *Stage) took(d time.Duration) {
	if s.act != nil && s.Failed == nil {
		s.act.took = append(s.act.took, d)
	}
}

// Measured says what was measured in the act, in the order of the play's columns.
func (s *Stage) Measured(cells ...string) {
	if s.act != nil && s.Failed == nil {
		s.act.cells = cells
	}
}

// Leave ends the act: all copies end in good order.
func (s *Stage) Leave() {
	s.finish()
	s.leave()
}

// Quit has all copies end in good order, and hears what they log of that.
func (s *Stage) Quit() {
	s.leave()
	s.hear()
}

func (s *Stage) leave() {
	for _, p := range s.proxies {
		p.Heal() // so that all can end in good order
	}
	err := process.QuitAll(s.record.processes()...)
	s.Do(func() error { return err })
	s.record.leave()
}

// Queue returns who is in the queue that the board shows, the first first.
func (s *Stage) Queue() []string {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	return s.record.queue()
}

// Handover is the end of one copy's active time and the beginning of the next one's.
type Handover struct {
	From, To Office
	// Waiting are those who waited when it took place, in their order.
	Waiting []string
	Took    time.Duration
}

// mostWaiting is more than wait at a time.
const mostWaiting = 20

// settled is how long it may take until what a copy logs has been read.
const settled = 60 * time.Millisecond

// Handovers returns those that took place after a time in good order, to one that waited;
// with the zero time, in the act.
func (s *Stage) Handovers(after time.Time) (all []Handover) {
	offices := s.record.since(after)
	for i := 1; i < len(offices); i++ {
		from, to := offices[i-1], offices[i]
		if time.Since(to.Since) < settled || from.Stopped.IsZero() || from.Lost != "" || !to.Asked.Before(from.Stopped) {
			continue
		}
		h := Handover{From: from, To: to, Took: max(to.Since.Sub(from.Stopped), 0)}
		for _, o := range offices[i+1 : min(i+mostWaiting, len(offices))] {
			if o.Asked.Before(to.Since) && o.Copy != to.Copy && !slices.Contains(h.Waiting, o.Copy) {
				h.Waiting = append(h.Waiting, o.Copy)
			}
		}
		all = append(all, h)
	}
	return all
}
