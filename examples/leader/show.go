package main

import (
	"context"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/lock"
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
	all := s.History(ctx, "scheduler/last")
	s.Do(func() error { return checkWork(all) })
	s.Say(s.Styles.Good, "in etcd no work of a leader comes after that of a later one")
}

// leads returns the token of the leader, as etcd has it.
func leads(ctx context.Context, client *clientv3.Client) (lock.Token, error) {
	leader, err := election.Current(ctx, client, "scheduler")
	return leader.Token, err
}

// checkWork looks at everything that was ever written: no token may be lower than the one before.
func checkWork(all []*clientv3.Event) error {
	if len(all) == 0 {
		return errors.New("no work was done")
	}
	var highest lock.Fence
	for _, e := range all {
		token, err := lock.ParseToken(string(e.Kv.Value))
		if err == nil {
			err = highest.Check(token)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
