package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lock"
)

const (
	slow    = "us/2"                 // the reader that is stopped for a while
	cutOff  = "ap/2"                 // the one that is cut off from etcd
	toApply = 400 * time.Millisecond // how long the slow one is stopped
	distant = 50 * time.Millisecond  // to etcd and back, twice that, from writers that are killed
)

// show does things to readers and writers, and looks at what they log and at etcd.
type show struct {
	*theatre.Stage

	writers int
	wrote   map[string]int      // the version, by writer
	applied map[int][]time.Time // when, by version
	has     map[string]int      // the version, by reader
	ends    map[string]string   // how writers have ended
	waiting bool                // whether to print that a writer waits for readers
}

func (s *show) acts(ctx context.Context, stage *theatre.Stage) {
	s.Stage, stage.Hear = stage, s.hear
	s.wrote, s.applied, s.has, s.ends = make(map[string]int), make(map[int][]time.Time), make(map[string]int), make(map[string]string)
	toWriters := s.Proxy()
	if s.Failed != nil {
		return
	}
	s.Act("1/4  Two writers at once: both changes are kept, and all readers switch together.")
	s.together(ctx)
	s.Act("2/4  Writers are killed between their steps: old or new, never a mixture.")
	toWriters.Delay(distant)
	s.crash(ctx, toWriters.Addr())
	s.Act("3/4  Updates that do not fit are refused: nothing changes.")
	s.refuse(ctx, change{"routes": {"green": 50}})
	s.refuse(ctx, change{"features": {"green": 0}}) // valid by itself, but not with the routes
	s.Act("4/4  A reader is slow, another is gone: the writer waits only for live readers.")
	s.Do(s.Copy(cutOff).Cut)
	s.barrier(ctx)
	s.Do(s.Copy(cutOff).Heal)
	s.Say(s.Styles.Title, "%s can reach etcd again", cutOff)
	s.Until(ctx, cutOff+" with the latest version", func() bool { return s.has[cutOff] == len(s.applied) })
	s.Say(s.Styles.Good, "%s has version %d now", cutOff, s.has[cutOff])
	all, times := s.History(ctx, configKey), 0
	s.Do(func() error { return checkVersions(all) })
	for _, at := range s.applied {
		times += len(at)
	}
	s.Conclude("%d versions by %d writers, applied %d times: never a mixture", len(s.applied), s.writers, times)
}

// hear records what a copy logs, and prints it.
func (s *show) hear(l theatre.Line) error {
	var a struct {
		Version int
		Token   lock.Token
		Config  config
		Readers []string
		Error   string
	}
	if l.Msg == theatre.Ended {
		s.ends[l.Copy] = l.Detail
		return nil
	}
	if err := l.Read(&a); err != nil {
		return err
	}
	switch l.Msg {
	case "registered":
		s.has[l.Copy] = 0
	case "applied":
		if s.has[l.Copy] = a.Version; a.Version > 0 { // before that there was nothing yet
			s.applied[a.Version] = append(s.applied[a.Version], l.Time)
		}
	case "holding":
		s.TellAt(l.Time, lipgloss.Style{}, "%s has the lock, token %s, and finds version %d", l.Copy, a.Token, a.Version)
	case "written":
		s.wrote[l.Copy] = a.Version
		s.TellAt(l.Time, s.Styles.Title, "%s writes version %d: %s", l.Copy, a.Version, text(a.Config))
	case "waiting":
		if s.waiting {
			s.TellAt(l.Time, s.Styles.Dim, "%s waits for %s", l.Copy, strings.Join(a.Readers, ", "))
		}
	case "to be tried again":
		s.TellAt(l.Time, s.Styles.Dim, "%s has to try again: %s", l.Copy, a.Error)
	}
	return nil
}

// together starts one writer, and then two at once: the second comes while the first waits for a
// reader.
func (s *show) together(ctx context.Context) {
	for _, name := range []string{"eu/1", "eu/2", "us/1", slow, "ap/1", cutOff} {
		s.StartBehind(s.Start, name, "-reader", name)
	}
	s.Until(ctx, "all readers", func() bool { return len(s.has) == 6 })
	s.finish(ctx, s.write(change{"limits": {"rps": 100, "burst": 200}, "routes": {"blue": 100, "green": 0}, "features": {"green": 0}}))
	s.pause(ctx)
	one := s.write(change{"limits": {"rps": 150}})
	s.Until(ctx, "the first to write", func() bool { return s.wrote[one] > 0 })
	other := s.write(change{"routes": {"blue": 90, "green": 10}, "features": {"green": 1}})
	s.Until(ctx, "the second to wait", func() bool {
		entries, err := lock.Inspect(ctx, s.Client, lockName)
		s.Do(func() error { return err })
		if len(entries) > 1 {
			s.Say(s.Styles.Dim, "%s waits for the lock", other)
		}
		return len(entries) > 1 || !s.Heard(one, theatre.Ended).IsZero() // as on a busy machine: the reader's lease ends
	})
	s.resume()
	s.finish(ctx, one)
	s.finish(ctx, other)
}

// crash kills a writer after each of its steps. The next one gets the lock when the dead one's
// lease has expired, and says what it finds.
func (s *show) crash(ctx context.Context, toWriters string) {
	for i, step := range []string{"holding", "writing", "written"} {
		name := s.write(change{"limits": {"rps": 160 + i}}, "-endpoints", toWriters)
		s.Until(ctx, name+" "+step, func() bool { return !s.Heard(name, step).IsZero() })
		s.Do(func() error { return s.Copy(name).Kill() })
		s.Say(s.Styles.Bad, "%s is killed (SIGKILL): it %s", name,
			[]string{"has read", "is writing, and may have succeeded", "has written, and waits for readers"}[i])
	}
	s.finish(ctx, s.write(change{"limits": {"burst": 300}}))
}

// refuse has a writer try an invalid change.
func (s *show) refuse(ctx context.Context, c change) {
	name := s.write(c)
	s.await(ctx, name)
	s.Do(func() error {
		_, why, refused := strings.Cut(s.ends[name], errInvalid.Error()+": ")
		if !refused {
			return fmt.Errorf("%s was not refused: %q", name, s.ends[name])
		}
		s.Say(s.Styles.Good, "%s is refused: %s", name, why)
		return nil
	})
}

// barrier has a writer wait for a slow reader, and for a dead one only until its lease expires.
func (s *show) barrier(ctx context.Context) {
	s.waiting = true
	s.pause(ctx)
	s.Say(s.Styles.Title, "%s is stopped for %s, %s is cut off from etcd", slow, toApply, cutOff)
	name := s.write(change{"limits": {"rps": 200}})
	s.Until(ctx, name+" waiting", func() bool { return !s.Heard(name, "waiting").IsZero() })
	s.Until(ctx, "the end of the stop", func() bool { return time.Since(s.Heard(name, "written")) > toApply })
	s.resume()
	s.finish(ctx, name)
}

func (s *show) pause(ctx context.Context) {
	if process.CanPause {
		s.Do(func() error { return s.Copy(slow).Pause(ctx) })
	}
}

func (s *show) resume() {
	if process.CanPause {
		s.Do(func() error { return s.Copy(slow).Resume() })
	}
}

// write starts a writer.
func (s *show) write(c change, args ...string) (name string) {
	s.writers++
	name = fmt.Sprintf("w%d", s.writers)
	s.Do(func() error {
		set, err := json.Marshal(c)
		s.Run(name, append(args, "-set", string(set))...)
		return err
	})
	return name
}

func (s *show) await(ctx context.Context, name string) {
	s.Until(ctx, "the end of "+name, func() bool {
		_, ended := s.ends[name]
		return ended
	})
}

// finish waits until a writer has ended in good order.
func (s *show) finish(ctx context.Context, name string) {
	s.await(ctx, name)
	s.Do(func() error {
		if s.ends[name] != "" {
			return errors.New(s.ends[name])
		}
		at := slices.SortedFunc(slices.Values(s.applied[s.wrote[name]]), time.Time.Compare)
		if len(at) == 0 {
			return fmt.Errorf("nobody has applied the version of %s", name)
		}
		s.Say(s.Styles.Good, "all live readers have version %d: %d switched within %s",
			s.wrote[name], len(at), screen.Short(at[len(at)-1].Sub(at[0])))
		return nil
	})
}

// text writes settings: "features [green:0] limits [burst:200 rps:100]".
func text(c config) string {
	all := make(map[string]settings)
	for name := range c {
		all[name] = c[name].Settings
	}
	return strings.Trim(strings.NewReplacer("map", "", ":map", " ").Replace(fmt.Sprint(all)), "[]") + "]"
}

// checkVersions looks at all that was ever written: each revision changes the whole
// configuration to the next version, and tokens never fall.
func checkVersions(all []*clientv3.Event) error {
	has, last := make(config), 0
	var highest lock.Fence
	for len(all) > 0 {
		revision, n := all[0].Kv.ModRevision, 1
		for n < len(all) && all[n].Kv.ModRevision == revision {
			n++
		}
		version, err := has.take(all[:n]...)
		all = all[n:]
		if err == nil && version != last+1 {
			err = fmt.Errorf("version %d after %d", version, last)
		}
		for name := range has {
			err = errors.Join(err, highest.Check(has[name].Token))
		}
		if err != nil {
			return fmt.Errorf("revision %d: %w", revision, err)
		}
		last = version
	}
	if last == 0 {
		return errors.New("nothing was ever written")
	}
	return nil
}
