package main

import (
	"context"
	"fmt"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
)

const (
	// patience is how long the stage waits for something; leases are short here.
	patience = 40 * time.Second
	// absence is for how long nobody is there: three runs of the report at least.
	absence = 3200 * time.Millisecond
)

// stage is where the fleet is seen.
type stage struct {
	*fleet

	view   *screen.Acts
	ledger *ledger
}

// play plays all acts.
func (s *stage) play(ctx context.Context) error {
	acts := []struct {
		title string
		play  func(context.Context) error
	}{
		{"Two jobs, three processes: each run takes place once, under a token.", s.playTogether},
		{"A process is killed in the middle of a run: another resumes it.", s.playCrash},
		{"Nobody is there for a while: what was missed is caught up once.", s.playAbsence},
		{"A process is stopped in the middle of a run, and wakes up too late.", s.playPause},
	}
	if !process.CanPause {
		acts = acts[:3]
	}
	for i, a := range acts {
		s.view.Begin("%d/%d  %s", i+1, len(acts), a.title)
		if err := a.play(ctx); err != nil {
			return err
		}
	}
	return nil
}

// next waits for the next event and checks what it means.
func (s *stage) next(ctx context.Context) (event, error) {
	select {
	case <-ctx.Done():
		return event{}, context.Cause(ctx)
	case e := <-s.Out():
		if e.Kind == ended && e.Detail != "" {
			return e, fmt.Errorf("%s: %s", e.Worker, e.Detail)
		}
		if e.Kind == troubled {
			s.view.TellAt(e.when(), s.view.Styles.Dim, "%s: %s", e.Worker, e.Detail)
		}
		return e, s.ledger.check(e)
	}
}

// await waits for an event that meets a condition.
func (s *stage) await(ctx context.Context, what string, cond func(event) bool) (event, error) {
	return workers.Await(ctx, s.next, patience, what, cond)
}

// sayResult tells of a run that is finished.
func (s *stage) sayResult(style lipgloss.Style, e event) {
	rec, missed := e.Record, ""
	if rec.Missed > 0 {
		missed = fmt.Sprintf(", for %d missed before it too", rec.Missed)
	}
	s.view.TellAt(e.when(), style, "%-6s  of %s%s: %s", rec.Job, rec.Slot.Format(time.TimeOnly), missed, rec.authors())
}

// playTogether looks on while nothing happens to anybody.
func (s *stage) playTogether(ctx context.Context) error {
	if err := s.startAll(); err != nil {
		return err
	}
	seen := make(map[string]int)
	_, err := s.await(ctx, "runs of both jobs", func(e event) bool {
		if e.Kind == result {
			seen[e.Record.Job]++
			s.sayResult(lipgloss.Style{}, e)
		}
		return seen["report"] >= 3 && seen["mail"] >= 1
	})
	return err
}

// stay lets a process stay in the middle of a run, and only that one.
func (s *stage) stay(ctx context.Context) (*member, record, error) {
	if err := s.tell(askStay, nil); err != nil {
		return nil, record{}, err
	}
	e, err := s.await(ctx, "a run half done", func(e event) bool { return e.Kind == stays })
	if err != nil {
		return nil, record{}, err
	}
	m := s.find(e.Worker)
	s.view.TellAt(e.when(), lipgloss.Style{}, "%s is half done with the report of %s, under token %s", e.Worker,
		e.Record.Slot.Format(time.TimeOnly), e.Token)
	return m, e.Record, s.tell(askGo, m)
}

// resumed waits until another process has finished a run.
func (s *stage) resumed(ctx context.Context, rec record, since int64) error {
	e, err := s.await(ctx, "the end of the run", func(e event) bool {
		return e.Kind == result && e.Record.Job == rec.Job && e.Record.Slot.Equal(rec.Slot)
	})
	if err == nil {
		s.view.TellAt(e.when(), s.view.Styles.Dim, "... %s later", screen.Short(time.Duration(e.At-since)))
		s.sayResult(s.view.Styles.Good, e)
	}
	return err
}

// playCrash kills a process in the middle of a run.
func (s *stage) playCrash(ctx context.Context) error {
	m, rec, err := s.stay(ctx)
	if err != nil {
		return err
	}
	killed := process.Now()
	if err := m.Kill(); err != nil {
		return err
	}
	s.view.Tell(s.view.Styles.Title, "%s is killed (SIGKILL)", m.Name())
	if err := s.resumed(ctx, rec, killed); err != nil {
		return err
	}
	m.Wait()
	return s.start(m)
}

// playAbsence ends all processes, and starts them again later.
func (s *stage) playAbsence(ctx context.Context) error {
	for _, m := range s.members {
		m.Ask()
	}
	for range s.members {
		if _, err := s.await(ctx, "the end of all processes", func(e event) bool { return e.Kind == ended }); err != nil {
			return err
		}
	}
	s.view.Tell(s.view.Styles.Title, "all processes have ended")
	if err := workers.Watch(ctx, s.next, absence); err != nil {
		return err
	}
	s.view.Tell(s.view.Styles.Title, "they are started again, %s later", absence)
	if err := s.startAll(); err != nil {
		return err
	}
	e, err := s.await(ctx, "what was missed", func(e event) bool {
		return e.Kind == result && e.Record.Job == "report" && e.Record.Missed >= 2
	})
	if err != nil {
		return err
	}
	s.sayResult(s.view.Styles.Good, e)
	e, err = s.await(ctx, "the run after that", func(e event) bool { return e.Kind == result && e.Record.Job == "report" })
	s.sayResult(lipgloss.Style{}, e)
	return err
}

// playPause stops a process in the middle of a run until another has finished it.
func (s *stage) playPause(ctx context.Context) error {
	m, rec, err := s.stay(ctx)
	if err != nil {
		return err
	}
	stopped := process.Now()
	if err := m.Pause(ctx); err != nil {
		return err
	}
	s.view.Tell(s.view.Styles.Title, "%s is stopped (SIGSTOP)", m.Name())
	if err := s.resumed(ctx, rec, stopped); err != nil {
		return err
	}
	if err := m.Resume(); err != nil {
		return err
	}
	s.view.Tell(s.view.Styles.Title, "%s wakes up (SIGCONT) and goes on with page %d", m.Name(), len(rec.Pages)+1)
	if err := m.Send(askGo); err != nil {
		return err
	}
	e, err := s.await(ctx, "what became of its page", func(e event) bool { return e.Kind == refused && e.Worker == m.Name() })
	if err != nil {
		return err
	}
	s.view.TellAt(e.when(), s.view.Styles.Good, "its page %d is refused: %s", len(e.Record.Pages), e.Detail)
	return nil
}
