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
	s.Do(func() error { return checkWork(ctx, s.Client) })
	s.Say(s.Styles.Good, "in etcd no work of a leader comes after that of a later one")
}

// leads returns the token of the leader, as etcd has it.
func leads(ctx context.Context, client *clientv3.Client) (lock.Token, error) {
	leader, err := election.Current(ctx, client, "scheduler")
	return leader.Token, err
}

// checkWork reads all that was ever written, of which no token may be lower than the one
// before.
func checkWork(ctx context.Context, client *clientv3.Client) error {
	now, err := client.Get(ctx, "scheduler/last")
	if err != nil {
		return err
	}
	if len(now.Kvs) == 0 {
		return errors.New("no work was done")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var highest lock.Fence
	for resp := range client.Watch(ctx, "scheduler/last", clientv3.WithRev(now.Kvs[0].CreateRevision)) {
		for _, e := range resp.Events {
			token, err := lock.ParseToken(string(e.Kv.Value))
			if err == nil {
				err = highest.Check(token)
			}
			if err != nil || e.Kv.ModRevision >= now.Kvs[0].ModRevision {
				return err
			}
		}
	}
	return context.Cause(ctx)
}
