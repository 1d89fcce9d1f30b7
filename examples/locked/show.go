package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lock"
)

func acts(ctx context.Context, s *theatre.Stage) {
	command, err := os.Executable()
	s.Do(func() error { return err })
	s.Hear = func(l theatre.Line) error {
		if strings.Contains(l.Detail, "not done: ") {
			s.TellAt(l.Time, s.Styles.Dim, "%s exits with status 1: its command was not done", l.Copy)
		} else if l.Detail != "" {
			return errors.New(l.Detail)
		}
		return nil
	}
	works := func(o theatre.Office) {
		s.Until(ctx, "work of "+o.Copy, func() bool { return s.Heard(o.Copy, "at work").After(o.Since) })
		s.Say(lipgloss.Style{}, "%s's command is at work, with token %s in its environment", o.Copy, o.Token)
	}
	s.Act("1/3  Three copies run a command under one lock: one does, the others wait.")
	for _, name := range []string{"n1", "n2", "n3"} {
		s.Run(name, "reports", command)
	}
	works(s.InOffice(ctx, ""))
	s.Act("2/3  The holder is told to end: its command ends, and the next has the lock.")
	gone, next := s.Terminate(ctx)
	s.Do(func() error {
		if last := s.Heard(gone.Copy, "at work"); !last.Before(next.Since) {
			return fmt.Errorf("the command of %s was at work at %s, %s has held the lock since %s", gone.Copy, last, next.Copy, next.Since)
		}
		return nil
	})
	works(next)
	s.Act("3/3  The holder is killed: the next has the lock when the lease has expired.")
	gone, next = s.Kill(ctx)
	works(next)
	s.Until(ctx, "work of "+gone.Copy, func() bool { return s.Heard(gone.Copy, "at work").After(next.Since) })
	s.Say(s.Styles.Bad, "%s's command is still at work: nobody has ended it (conclave lock would have)", gone.Copy)
	var storage lock.Fence // which has to compare tokens, for this
	s.Do(func() error { return storage.Check(next.Token) })
	s.Do(func() error {
		var stale *lock.StaleTokenError
		if err := storage.Check(gone.Token); !errors.As(err, &stale) {
			return fmt.Errorf("a stale token was taken: %w", err)
		}
		return nil
	})
	s.Say(s.Styles.Good, "storage that compares tokens refuses its writes: %s is lower than %s", gone.Token, next.Token)
	s.Dismiss(ctx, gone.Copy)
}

// work is the command: it works until SIGTERM, and at most until the end of its input,
// which is that of the show.
func work(ctx context.Context, _ *process.Line) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	go func() { // ends with the input or the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil)).With("token", os.Getenv("LOCK_TOKEN"))
	for tick := time.Tick(20 * time.Millisecond); ctx.Err() == nil; <-tick {
		log.Info("at work")
	}
	return nil
}
