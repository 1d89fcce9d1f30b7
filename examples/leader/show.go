package main

import (
	"context"

	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
)

func acts(ctx context.Context, s *theatre.Stage) {
	s.Act("1/4  Three copies stand for election.")
	for _, name := range []string{"n1", "n2", "n3"} {
		s.Start(name)
	}
	first := s.InOffice(ctx, "")
	s.Say(s.Styles.Good, "%s leads, with token %s", first.Copy, first.Token)
	s.Act("2/4  The leader is killed: another leads when its lease has expired.")
	s.Kill(ctx)
	s.Start("n4")
	s.Act("3/4  The leader is told to end: another leads at once.")
	s.Terminate(ctx)
	s.Start("n5")
	if process.CanPause {
		s.Act("4/4  The leader is paused for longer than its lease lasts.")
		s.Pause(ctx)
	}
	s.CheckHistory(ctx, "scheduler/last", theatre.ParseToken)
	s.Say(s.Styles.Good, "in etcd no work of a leader comes after that of a later one")
}
