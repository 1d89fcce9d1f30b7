package election_test

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/proctest"
	"github.com/conclave-go/conclave/lease"
)

// candidateTTL is the TTL of candidates that are processes: enough for one to answer.
const candidateTTL = unhurried

// candidate is the role of a process that stands for election: its arguments are an
// endpoint, the name and its value. Only a process can be stopped by a signal.
func candidate(ctx context.Context, line *proctest.Line, args []string) error {
	return stand(ctx, line, args[0], args[1], args[2])
}

// service is a program as the documentation has it, which a signal ends: its arguments
// are an endpoint, the name and the grace. It says its number when it leads, and "ended" at the end.
func service(ctx context.Context, line *proctest.Line, args []string) error {
	grace, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := clientv3.New(clientv3.Config{Endpoints: args[:1], Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	session, err := lease.NewSession(ctx, client, lease.WithTTL(lease.MaxTTL), lease.WithGrace(grace))
	if err != nil {
		return err
	}
	defer func() {
		_ = session.Close(ctx)
		line.Say("ended")
	}()
	e, err := election.New(session, args[1])
	if err != nil {
		return err
	}
	err = e.Run(ctx, "service", func(ctx context.Context, _ *election.Term) error {
		line.Say(os.Getpid())
		<-ctx.Done()
		return nil
	})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// stand campaigns and says "elected". To each line that it is told it answers whether a
// write under the guard, a transaction of the term and a proclamation have succeeded.
func stand(ctx context.Context, line *proctest.Line, endpoint, name, value string) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	session, err := lease.NewSession(ctx, client, lease.WithTTL(candidateTTL))
	if err != nil {
		return err
	}
	e, err := election.New(session, name)
	if err != nil {
		return err
	}
	term, err := e.Campaign(ctx, value)
	if err != nil {
		return err
	}
	line.Say("elected", term.Key(), term.Token())
	write := clientv3.OpPut(name+"/written-by", value)
	for {
		select {
		case <-line.Told():
		case <-ctx.Done():
			return nil
		}
		resp, err := client.Txn(ctx).If(term.Guard()...).Then(write).Commit()
		if err != nil {
			return err
		}
		_, txn := term.Txn(ctx).Then(write).Commit()
		proclaimed := term.Proclaim(ctx, value+" again")
		line.Say("guard", resp.Succeeded, "txn lost", errors.Is(txn, election.ErrLost),
			"proclaim lost", errors.Is(proclaimed, election.ErrLost), "err lost", errors.Is(term.Err(), election.ErrLost))
	}
}
