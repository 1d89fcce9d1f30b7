package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

// Txn returns a transaction that takes effect only while the grant owns: what the
// caller gives it runs under the grant's guard, in the same round trip.
func (g *Grant) Txn(ctx context.Context) clientv3.Txn {
	return &guardedTxn{grant: g, ctx: ctx}
}

type guardedTxn struct {
	grant *Grant
	ctx   context.Context
	conds []clientv3.Cmp
	then  []clientv3.Op
	other []clientv3.Op
}

func (t *guardedTxn) If(conds ...clientv3.Cmp) clientv3.Txn {
	t.conds = append(t.conds, conds...)
	return t
}

func (t *guardedTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.then = append(t.then, ops...)
	return t
}

func (t *guardedTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	t.other = append(t.other, ops...)
	return t
}

// nested reports whether what the caller gave has to be a transaction of its own. Without
// conditions it need not be: that costs less, and etcd servers that do not check what is in
// nested transactions against the user's permissions check it then.
func (t *guardedTxn) nested() bool { return len(t.conds) > 0 || len(t.other) > 0 }

// Commit runs the transaction. It fails with the cause of the grant's end if that
// has come, without asking the server, and ends the grant if the guard fails.
func (t *guardedTxn) Commit() (*clientv3.TxnResponse, error) {
	if t.ctx == nil {
		return nil, errors.New("queue: context is nil: use context.Background() if there is no other")
	}
	if err := t.grant.begin(); err != nil {
		return nil, err
	}
	ctx, cancel := t.grant.With(t.ctx)
	defer cancel()
	resp, err := t.send(ctx)
	t.grant.done(err != nil && !refused(err))
	switch {
	case err == nil && !resp.Succeeded:
		t.grant.deleted()
		return nil, t.grant.Err()
	case err == nil:
		return t.answer(resp), nil
	case t.ctx.Err() != nil:
		return nil, attempt.Ended(t.ctx, err)
	case t.grant.Err() != nil && refused(err):
		return nil, t.grant.Err()
	case t.grant.Err() != nil:
		if errors.Is(t.grant.Err(), t.grant.errs.Released) {
			err = t.grant.Err()
		} // else not the loss, which would say that nothing was written
		return nil, fmt.Errorf("the hold ended before the answer came, so the outcome of the transaction is unknown: %w", err)
	case !refused(err):
		return nil, fmt.Errorf("no answer, so the outcome of the transaction is unknown: %w", err)
	}
	return nil, err
}

// reads reports whether the transaction only reads.
func (t *guardedTxn) reads() bool {
	writes := func(op clientv3.Op) bool { return !op.IsGet() }
	return !slices.ContainsFunc(t.then, writes) && !slices.ContainsFunc(t.other, writes)
}

// send sends the transaction. One that writes is not sent again unless it was refused:
// then nothing was done. Without an answer that is not known, and to ask again could do
// everything twice. So it is waited for as long as a live member may take.
func (t *guardedTxn) send(ctx context.Context) (resp *clientv3.TxnResponse, err error) {
	e := t.grant.entry
	if t.reads() {
		return request(ctx, e, t.commit)
	}
	limits := attempt.Limits{Timeout: max(e.lease.TTL()/txnsPerTTL, minTxn), Until: e.lease.Context()}
	for pause := firstWatchPause; ; pause = min(2*pause, maxWatchPause) {
		err = limits.Once(ctx, func(ctx context.Context) (err error) {
			resp, err = t.commit(ctx)
			return err
		})
		if err == nil || !refused(err) || !attempt.Transient(err) || !attempt.Pause(ctx, pause) {
			return resp, err
		}
	}
}

// commit makes one attempt.
func (t *guardedTxn) commit(ctx context.Context) (*clientv3.TxnResponse, error) {
	txn := t.grant.entry.q.Session.Client().Txn(ctx).If(t.grant.entry.guard()...)
	if t.nested() {
		return txn.Then(clientv3.OpTxn(t.conds, t.then, t.other)).Commit()
	}
	txn = txn.Then(t.then...)
	if t.local() {
		txn = txn.Else(clientv3.OpGet(t.grant.Key(), clientv3.WithCountOnly()))
	}
	return txn.Commit()
}

// local reports whether a member would answer the transaction from what it has, however old
// that is: it would say of a grant that it is over, or is not, as of some time ago.
func (t *guardedTxn) local() bool {
	quorum := func(op clientv3.Op) bool { return !op.IsGet() || !op.IsSerializable() }
	return !t.nested() && !slices.ContainsFunc(t.then, quorum)
}

const (
	// txnsPerTTL sets how long a transaction is waited for: as long as between two
	// renewals of the lease.
	txnsPerTTL = 3
	// minTxn is the least such time.
	minTxn = time.Second
)

// refused reports whether a request that failed with err has done nothing, and will not.
func refused(err error) bool { return !attempt.Uncertain(err) }

// answer returns the response to the caller's own transaction.
func (t *guardedTxn) answer(resp *clientv3.TxnResponse) *clientv3.TxnResponse {
	if !t.nested() {
		return resp
	}
	own := (*clientv3.TxnResponse)(resp.Responses[0].GetResponseTxn())
	own.Header = resp.Header
	return own
}

// begin notes that a transaction is under way, unless the grant has ended.
func (g *Grant) begin() error {
	if err := g.Err(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return context.Cause(g.ctx)
	}
	g.txns++
	return nil
}

// done notes the end of a transaction.
func (g *Grant) done(uncertain bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.txns--
	g.exposed = g.exposed || uncertain
}
