package queue

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

// Txn returns a transaction that takes effect only while the grant owns: what the
// caller gives it runs nested under the grant's guard, in the same round trip.
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

// Commit runs the transaction. It fails with the cause of the grant's end if that
// has come, without asking the server, and ends the grant if the guard fails.
func (t *guardedTxn) Commit() (*clientv3.TxnResponse, error) {
	if err := t.grant.begin(); err != nil {
		return nil, err
	}
	resp, err := t.grant.entry.q.Session.Client().Txn(t.ctx).
		If(t.grant.entry.guard()...).
		Then(clientv3.OpTxn(t.conds, t.then, t.other)).
		Commit()
	t.grant.done(err != nil && attempt.Uncertain(err))
	if err != nil && t.ctx.Err() != nil {
		return nil, attempt.Ended(t.ctx, err)
	}
	if err != nil {
		return nil, err
	}
	if !resp.Succeeded {
		t.grant.deleted()
		return nil, t.grant.Err()
	}
	own := (*clientv3.TxnResponse)(resp.Responses[0].GetResponseTxn())
	own.Header = resp.Header
	return own, nil
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
