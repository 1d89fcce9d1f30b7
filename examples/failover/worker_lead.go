package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/process"
)

const (
	// beatEvery is how often a leader writes, under the guard of its term.
	beatEvery = 100 * time.Millisecond
	// lateTimeout bounds the write of a leader that has lost its term, which in a
	// partition arrives when that is over.
	lateTimeout = 30 * time.Second
)

// lead writes until the term is lost, or to be given up. leading ends with the term,
// and both with ctx.
func (w *worker) lead(ctx, leading context.Context, term *election.Term) error {
	w.forget()
	w.reportTerm(elected, term)
	lost := w.tell(term)
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		select {
		case <-lost:
			w.writeLate(ctx, term)
			return nil
		case <-ctx.Done():
			w.reportTerm(resigns, term)
			return nil
		case line := <-w.asked:
			if over, err := w.obey(leading, term, line); over || err != nil {
				return err
			}
		case <-beat.C:
			w.reportTerm(leads, term)
			if err := w.write(leading, term); err != nil {
				return err
			}
		}
	}
}

// forget drops what was asked of the leader of an earlier term.
func (w *worker) forget() {
	select {
	case <-w.asked:
	default:
	}
}

// reportTerm reports a term, with its deadline unless it is over: what remains of it
// is 0 then, which says nothing of when the deadline was. A pause between the two
// readings of the time makes the deadline too early, never too late.
func (w *worker) reportTerm(k kind, term *election.Term) {
	e := event{Kind: k, Key: term.Key(), Token: term.Token()}
	at := process.Now()
	if left := term.Remaining(); left > 0 {
		e.Until = at + int64(left)
	}
	w.report(e)
}

// tell reports the loss of the term at the moment at which the leader is told, and
// closes what it returns then. A term that was given up is not lost.
func (w *worker) tell(term *election.Term) <-chan struct{} {
	lost := make(chan struct{})
	context.AfterFunc(term.Context(), func() {
		if cause := term.Err(); !errors.Is(cause, election.ErrResigned) {
			until := process.Now() + int64(time.Until(term.Deadline()))
			w.report(event{Kind: told, Token: term.Token(), Until: until, Detail: cause.Error()})
			close(lost)
		}
	})
	return lost
}

// write says in etcd who leads, if that is so. What the end of the term accounts for
// is no failure; it is reported by itself. A write that was not answered in time may have
// been made, and can be made again.
func (w *worker) write(leading context.Context, term *election.Term) error {
	for leading.Err() == nil {
		_, err := term.Txn(leading).Then(w.mark(term)).Commit()
		switch {
		case err == nil, errors.Is(err, election.ErrLost):
			return nil
		case !errors.Is(err, context.Canceled):
			return workers.UnlessDone(leading, fmt.Errorf("guarded write: %w", err))
		}
	}
	return nil
}

func (w *worker) mark(term *election.Term) clientv3.Op {
	return clientv3.OpPut(w.job.Resource, term.Token().String())
}

// writeLate writes after the term, as a process does that was stopped between a look
// at its term and the write. A Term.Txn would not even be sent: this is its guard in
// a transaction of our own.
func (w *worker) writeLate(ctx context.Context, term *election.Term) {
	ctx, cancel := context.WithTimeout(ctx, lateTimeout)
	defer cancel()
	resp, err := w.client.Txn(ctx).If(term.Guard()...).Then(w.mark(term)).Commit()
	e := event{Kind: wrote, Token: term.Token()}
	if err != nil {
		e.Detail = err.Error()
	} else {
		e.OK = resp.Succeeded
	}
	w.report(e)
}

// obey does what the parent asked, and reports whether the term is over.
func (w *worker) obey(leading context.Context, term *election.Term, line string) (over bool, err error) {
	if line == askResign {
		w.reportTerm(resigns, term) // which Run does when lead returns
		return true, nil
	}
	to, err := w.candidate(leading, strings.TrimPrefix(line, askTransfer))
	if err != nil {
		return false, workers.UnlessDone(leading, err)
	}
	w.reportTerm(transfers, term)
	err = term.Transfer(leading, to)
	if term.Err() == nil {
		w.report(event{Kind: refused, Token: term.Token(), Detail: fmt.Sprint(err)})
		return false, nil
	}
	if errors.Is(err, election.ErrNotCandidate) {
		return true, nil // it left at the last moment, and the first of the others is elected
	}
	return true, err
}

// candidate finds who waits under a name; the zero Candidate is nobody.
func (w *worker) candidate(ctx context.Context, owner string) (election.Candidate, error) {
	all, err := election.Candidates(ctx, w.client, w.job.Name)
	if err != nil {
		return election.Candidate{}, err
	}
	for _, c := range all {
		if c.Owner == owner && !c.Leads() {
			return c, nil
		}
	}
	return election.Candidate{}, nil
}
