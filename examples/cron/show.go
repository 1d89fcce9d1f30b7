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
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lock"
)

const (
	absence = 3200 * time.Millisecond // while no process is up: at least three runs of the report
	half    = 2                       // pages of a report
)

// show does things to copies of the program, and looks at what they have stored in etcd.
type show struct {
	*theatre.Stage

	seen    map[string]bool   // results, by key
	stored  string            // the copy with half a report stored, if no page came after
	refused map[string]string // why a page was not stored, by copy
}

func (s *show) acts(ctx context.Context, stage *theatre.Stage) {
	s.Stage, stage.Hear, s.seen, s.refused = stage, s.hear, make(map[string]bool), make(map[string]string)
	s.Act("1/4  Two jobs, three processes: each run takes place once, under a token.")
	s.together(ctx)
	s.Act("2/4  A process is killed in the middle of a run: another resumes it.")
	s.crash(ctx)
	s.Act("3/4  No process is up for a while: missed runs are caught up by one run.")
	s.leave(ctx)
	if process.CanPause {
		s.Act("4/4  A process is stopped in the middle of a run, and resumes too late.")
		s.pause(ctx)
	}
	all, summary := s.History(ctx, "cron/"), ""
	s.Do(func() (err error) { summary, err = checkRuns(all); return err })
	s.Conclude("%s", summary)
}

// hear records what a copy logs.
func (s *show) hear(l theatre.Line) error {
	var a struct {
		Job, Error string
		Page       int
	}
	switch l.Msg {
	case "stored", "to be tried again":
	default:
		return nil
	}
	if err := l.Read(&a); err != nil {
		return err
	}
	if l.Msg == "stored" {
		if a.Job == "report" {
			s.stored = ""
			if a.Page == half {
				s.stored = l.Copy
			}
		}
		return nil
	}
	why, _, _ := strings.Cut(a.Error, "\n")
	page, reason, refused := strings.Cut(why, ": ")
	if s.refused[l.Copy] = reason; refused && strings.HasPrefix(reason, lock.ErrLost.Error()) {
		s.TellAt(l.Time, s.Styles.Good, "%s of %s is refused: %s", page, l.Copy, reason)
	} else {
		s.TellAt(l.Time, s.Styles.Dim, "%s has to try the %s again: %s", l.Copy, a.Job, why)
	}
	return nil
}

func names() []string { return []string{"w1", "w2", "w3"} }

func (s *show) start(ctx context.Context, names ...string) {
	began := time.Now()
	for _, name := range names {
		s.Start(name, "-name", name)
	}
	for _, name := range names {
		s.Until(ctx, "the start of "+name, func() bool { return s.Heard(name, "started").After(began) })
	}
}

// together watches while nothing goes wrong.
func (s *show) together(ctx context.Context) {
	s.start(ctx, names()...)
	runs := make(map[string]int)
	s.await(ctx, "runs of both jobs", func(job string, rec record) bool {
		runs[job]++
		s.tell(lipgloss.Style{}, job, rec)
		return runs["report"] >= 3 && runs["mail"] >= 1
	})
}

// crash kills a process in the middle of a run.
func (s *show) crash(ctx context.Context) {
	name, rec := s.catch(ctx)
	killed := time.Now()
	s.Do(s.Copy(name).Kill)
	s.Say(s.Styles.Title, "%s is killed (SIGKILL)", name)
	s.resumed(ctx, rec, killed)
	s.start(ctx, name)
}

// leave ends all processes, and starts them again later.
func (s *show) leave(ctx context.Context) {
	for _, name := range names() {
		s.Do(s.Copy(name).Terminate)
	}
	for _, name := range names() {
		s.AwaitEnd(ctx, name)
	}
	s.Say(s.Styles.Title, "all processes have ended")
	gone := time.Now()
	s.Until(ctx, "the end of the absence", func() bool { return time.Since(gone) > absence })
	s.Say(s.Styles.Title, "they are started again, %s later", absence)
	s.start(ctx, names()...)
	rec := s.await(ctx, "what was missed", func(job string, rec record) bool {
		return job == "report" && rec.Missed >= 2 && rec.Slot.After(gone)
	})
	s.tell(s.Styles.Good, "report", rec)
	s.tell(lipgloss.Style{}, "report", s.await(ctx, "the run after that", func(job string, _ record) bool { return job == "report" }))
}

// pause stops a process in the middle of a run until another has finished it. On a busy
// machine a page may be on its way when it stops, and then is not refused, but in doubt.
func (s *show) pause(ctx context.Context) {
	for lost := false; s.Failed == nil && !lost; {
		name, rec := s.catch(ctx)
		delete(s.refused, name)
		stopped := time.Now()
		s.Say(s.Styles.Title, "%s is stopped (SIGSTOP)", name)
		s.resumed(ctx, rec, stopped)
		s.Say(s.Styles.Title, "%s wakes up (SIGCONT), and goes on with its page", name)
		s.Do(func() error { return s.Copy(name).Resume() })
		s.Until(ctx, "what became of its page", func() bool { return s.refused[name] != "" })
		lost = strings.HasPrefix(s.refused[name], lock.ErrLost.Error())
	}
}

// catch stops a process in the middle of a report, if processes can be stopped here.
func (s *show) catch(ctx context.Context) (name string, rec record) {
	s.Until(ctx, "a report half done", func() bool {
		if name = s.stored; name == "" {
			return false
		}
		s.stored = ""
		if process.CanPause {
			s.Do(func() error { return s.Copy(name).Pause(ctx) })
		}
		if rec = s.state(ctx); len(rec.Pages) == half && rec.Pages[half-1].Worker == name {
			return true
		}
		if process.CanPause { // it was too fast
			s.Do(func() error { return s.Copy(name).Resume() })
		}
		return false
	})
	s.Do(func() error {
		s.Tell(lipgloss.Style{}, "%s is half done with the report of %s, under token %s",
			name, rec.Slot.Format(time.TimeOnly), rec.Pages[half-1].Token)
		return nil
	})
	return name, rec
}

// state returns the latest run of the report, finished or not.
func (s *show) state(ctx context.Context) (rec record) {
	s.Do(func() error {
		resp, err := s.Client.Get(ctx, stateKey+"report")
		if err != nil || len(resp.Kvs) == 0 {
			return err
		}
		return json.Unmarshal(resp.Kvs[0].Value, &rec)
	})
	return rec
}

// resumed waits until another process has finished a run.
func (s *show) resumed(ctx context.Context, begun record, since time.Time) {
	rec := s.await(ctx, "the end of the run", func(job string, rec record) bool { return job == "report" && rec.Slot.Equal(begun.Slot) })
	s.Say(s.Styles.Dim, "... %s later", screen.Short(time.Since(since)))
	s.tell(s.Styles.Good, "report", rec)
}

// await looks at the results that it has not seen yet, until one is what is waited for.
func (s *show) await(ctx context.Context, what string, is func(job string, rec record) bool) (found record) {
	s.Until(ctx, what, func() (done bool) {
		s.Do(func() error {
			resp, err := s.Client.Get(ctx, resultKey, clientv3.WithPrefix())
			if err != nil {
				return err
			}
			for _, kv := range resp.Kvs {
				if done || s.seen[string(kv.Key)] {
					continue
				}
				s.seen[string(kv.Key)] = true
				job, rec, err := parse(kv)
				if err != nil {
					return err
				}
				found, done = rec, is(job, rec)
			}
			return nil
		})
		return done
	})
	return found
}

// parse returns the job and the run that a key is about.
func parse(kv *mvccpb.KeyValue) (job string, rec record, err error) {
	job, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimPrefix(string(kv.Key), resultKey), stateKey), "/")
	return job, rec, json.Unmarshal(kv.Value, &rec)
}

// tell prints a finished run.
func (s *show) tell(style lipgloss.Style, job string, rec record) {
	missed := ""
	if rec.Missed > 0 {
		missed = fmt.Sprintf(", and for %d missed before it", rec.Missed)
	}
	s.Say(style, "%-6s  of %s%s: %s", job, rec.Slot.Format(time.TimeOnly), missed, authors(rec.Pages))
}

// authors says who wrote which pages: "1-2 by w1, token 12; 3-4 by w2, token 30".
func authors(pages []page) string {
	var parts []string
	for from := 0; from < len(pages); {
		n := slices.IndexFunc(pages[from:], func(p page) bool { return p != pages[from] })
		if n < 0 {
			n = len(pages) - from
		}
		which := fmt.Sprintf("%d-%d", from+1, from+n)
		if n == 1 {
			which = fmt.Sprint(from + 1)
		}
		parts = append(parts, fmt.Sprintf("%s by %s, token %s", which, pages[from].Worker, pages[from].Token))
		from += n
	}
	return strings.Join(parts, "; ")
}

// checkRuns looks at everything that was ever stored: no run has two results, and no page of a
// job has a lower token than the one before.
func checkRuns(all []*clientv3.Event) (summary string, err error) {
	runs, last, highest, resumed := make(map[string]int), make(map[string]time.Time), make(map[string]lock.Token), 0
	for _, e := range all {
		key := string(e.Kv.Key)
		if !strings.HasPrefix(key, stateKey) && !strings.HasPrefix(key, resultKey) {
			continue
		}
		job, rec, err := parse(e.Kv)
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(key, resultKey) {
			if !rec.Slot.After(last[job]) {
				return "", fmt.Errorf("%s: the run of %s came after that of %s", job, rec.Slot, last[job])
			}
			last[job] = rec.Slot
			runs[job]++
			if slices.ContainsFunc(rec.Pages, func(p page) bool { return p != rec.Pages[0] }) {
				resumed++
			}
			continue
		}
		for _, p := range rec.Pages[max(len(rec.Pages)-1, 0):] {
			if p.Token < highest[job] {
				return "", fmt.Errorf("%s: a page with token %s was stored after token %s", job, p.Token, highest[job])
			}
			highest[job] = p.Token
		}
	}
	if runs["report"] == 0 || runs["mail"] == 0 {
		return "", errors.New("there were no runs")
	}
	return fmt.Sprintf("%d reports and %d mails, %d of them resumed by another: none twice, and tokens only rose",
		runs["report"], runs["mail"], resumed), nil
}
