package queue

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Pass releases the grant, of a queue of one lane and no delay, as Release does, and in the same transaction runs ops if
// conds hold. passed reports whether it did: if not, the grant is released all the
// same. It is false also if the transaction has failed, with failure: it was refused, or the only
// reply was lost. err is as for Release.
func (g *Grant) Pass(ctx context.Context, conds []clientv3.Cmp, ops []clientv3.Op) (passed bool, failure, err error) {
	before := ctx.Err()
	if !g.endReleased() {
		return false, nil, g.Release(ctx)
	}
	ctx, done := g.Outlive(ctx, before)
	defer done()
	ctx = g.Releasing(ctx)
	passed, removed, failure := g.entry.pass(ctx, conds, ops)
	if failure != nil {
		g.removeEntry(ctx)
		return false, failure, g.Release(ctx)
	}
	g.entry.becomeGone()
	if !removed {
		err = fmt.Errorf("%w: %w", g.errs.Lost, errDeleted)
	}
	g.decide(err)
	return passed, nil, err
}

// pass removes the entry, trying once, and reports whether conds held, with which ops
// ran, and whether the entry was there.
func (e *entry) pass(ctx context.Context, conds []clientv3.Cmp, ops []clientv3.Op) (passed, removed bool, err error) {
	e.becomeRemoving()
	same, remove := e.removal()
	err = e.limits().Once(ctx, func(ctx context.Context) error {
		e.life.deleteSent()
		resp, err := e.q.Session.Client().Txn(ctx).
			If(append(conds, same...)...).
			Then(append(ops, remove...)...).
			Else(clientv3.OpTxn(same, remove, nil)).
			Commit()
		if err == nil {
			passed = resp.Succeeded
			removed = passed || resp.Responses[0].GetResponseTxn().Succeeded
		}
		e.life.deleteAnswered(removed, err)
		return err
	})
	return passed, removed, err
}
