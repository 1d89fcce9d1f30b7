package election

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/queue"
)

// maxRemoved is how many entries one transfer removes, the leader's own included: etcd
// takes 128 operations in a transaction, of which one level of nesting costs one.
const maxRemoved = 127

// Transfer ends the term in favour of a waiting candidate, as returned by [Candidates],
// wherever it is in the queue: one read finds out who is ahead of it, and one transaction
// removes the leader and all of those. They queue again by themselves, at the end.
//
// If the candidate no longer waits, or is the leader itself or a candidate of another
// election, Transfer returns [ErrNotCandidate]. It refuses if there are more than 126 ahead
// of the candidate, or any at all [WithEtcdLayout]. In these cases, and when ctx ends
// before the transaction is sent, the term goes on.
//
// From then on it is a resignation: the term is over whatever the outcome, ctx bounds only
// the wait, and errors are those of [Term.Resign]. If the candidate left at the last
// moment, nobody else is removed, the next in line is elected and Transfer returns
// [ErrNotCandidate]. If the server refuses the transaction, for example because it takes fewer
// operations, the next in line is elected, too, and Transfer returns the refusal. The term has
// ended if and only if [Term.Err] says so.
func (t *Term) Transfer(ctx context.Context, to Candidate) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	ahead, err := t.ahead(ctx, to)
	if err != nil {
		return err
	}
	same := clientv3.Compare(clientv3.CreateRevision(to.Key), "=", to.Token.Revision())
	before := ctx.Err()
	passed, failure, err := t.grant.Pass(ctx, []clientv3.Cmp{same}, removals(ahead))
	switch {
	case err != nil:
		return t.explain("transferring", err)
	case passed:
		return nil
	}
	// The candidate left at the last moment; or the transaction was refused; or the reply was
	// lost, and it leads.
	ctx, done := t.grant.Outlive(ctx, before)
	defer done()
	l, _, err := awaitLeader(ctx, t.queue.Session.Client(), t.place)
	switch {
	case err != nil:
		return fmt.Errorf("election: resigned, but whether %q was elected is not known: %w", to.Key, err)
	case l.Token != to.Token || l.Key != to.Key:
		return fmt.Errorf("%w: resigned, but %q was not elected", notElected(failure), to.Key)
	}
	return nil
}

// notElected returns why a candidate does not lead after a transaction that failed with
// failure, if at all.
func notElected(failure error) error {
	switch {
	case failure == nil:
		return ErrNotCandidate
	case attempt.Uncertain(failure):
		return fmt.Errorf("%w (last attempt: %w)", ErrNotCandidate, failure)
	}
	return fmt.Errorf("election: transferring: %w", failure)
}

// removals deletes entries, each if it is still the same: its key may be used again by
// a later one.
func removals(entries []queue.Occupant) []clientv3.Op {
	ops := make([]clientv3.Op, len(entries))
	for i, o := range entries {
		same := clientv3.Compare(clientv3.CreateRevision(o.Key), "=", o.CreateRevision)
		ops[i] = clientv3.OpTxn([]clientv3.Cmp{same}, []clientv3.Op{clientv3.OpDelete(o.Key)}, nil)
	}
	return ops
}

// ahead returns the entries between the leader and the candidate, or why there can be
// no transfer to it.
func (t *Term) ahead(ctx context.Context, to Candidate) ([]queue.Occupant, error) {
	if err := t.Err(); err != nil {
		return nil, err
	}
	switch {
	case !strings.HasPrefix(to.Key, t.place.prefix):
		return nil, fmt.Errorf("%w: %q does not stand in election %q", ErrNotCandidate, to.Key, t.queue.Name)
	case to.Key == t.Key():
		return nil, fmt.Errorf("%w: %q is the leader itself", ErrNotCandidate, to.Key)
	}
	within, cancel := t.With(ctx)
	defer cancel()
	all, _, err := awaitOccupants(within, t.queue.Session.Client(), t.place)
	if ended := t.Err(); ended != nil {
		return nil, ended
	}
	if err != nil {
		return nil, fmt.Errorf("election: transferring: reading the candidates: %w", err)
	}
	i := slices.IndexFunc(all, func(o queue.Occupant) bool {
		return o.Key == to.Key && o.CreateRevision == to.Token.Revision()
	})
	switch {
	case len(all) == 0 || all[0].Key != t.Key() || all[0].CreateRevision != t.grant.Revision():
		return nil, t.confirm(ctx)
	case i < 0:
		return nil, fmt.Errorf("%w: %q no longer waits", ErrNotCandidate, to.Key)
	case i > 1 && t.place.raw:
		return nil, fmt.Errorf("election: transferring to %q: %d candidates are ahead of it: must be the next, since those of clientv3/concurrency do not notice that they are removed", to.Key, i-1)
	case i > maxRemoved:
		return nil, fmt.Errorf("election: transferring to %q: %d candidates are ahead of it: must be at most %d", to.Key, i-1, maxRemoved-1)
	}
	return all[1:i], nil
}

// confirm ends the term if its key is gone, and returns why it cannot be transferred.
func (t *Term) confirm(ctx context.Context) error {
	if _, err := t.Txn(ctx).Commit(); err != nil {
		return t.explain("transferring", err)
	}
	return errors.New("election: transferring: somebody has put an older entry into the queue")
}
