package shard

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// errOvertaken says that the plan is not what this one was made from.
var errOvertaken = errors.New("the plan has changed meanwhile")

// write writes a plan, guarded by the term: one transaction for each piece, the last of
// which has the head. Each also requires that what it overwrites is as it was read, and the
// pieces before it as they were written, so that a request that arrives late, after its term
// or after it was given up, changes nothing, or goes with pieces that another attempt has
// replaced.
// The pieces go where those of the plan before the last were; so the last stays readable
// until the head has changed, and whole if it never does.
func (p *planner) write(ctx context.Context, st *state, members []planMember, owners []string, e *PlanEvent) error {
	pieces := encodePlan(members, owners, p.cfg.piece)
	h := head{Version: 1, Shards: len(owners), Pieces: make([]int64, len(pieces)), Planner: p.name, Term: p.term.Token(), Made: time.Now().UTC()}
	if st.plan != nil {
		h.Version, h.Slot = st.plan.Version+1, 1-st.plan.Slot
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	var revision int64
	for n, piece := range pieces {
		h.Size += len(piece)
		key := p.keys.piece(h.Slot, n)
		conds := append(p.written(h, n), st.unchanged(key), st.unchanged(p.keys.head()))
		ops := []clientv3.Op{clientv3.OpPut(key, string(piece))}
		if n == len(pieces)-1 {
			text, _ := json.Marshal(h) // numbers, strings and a time always encode
			ops = append(ops, clientv3.OpPut(p.keys.head(), string(text)))
		}
		resp, err := p.term.Txn(ctx).If(conds...).Then(ops...).Commit()
		switch {
		case err != nil:
			return err
		case !resp.Succeeded:
			return errOvertaken
		}
		revision = resp.Header.Revision
		h.Pieces[n] = revision
	}
	e.Version, e.Size, e.Written = h.Version, h.Size, true
	return p.cache.WaitRevision(ctx, revision) // the next round begins from it
}

// written are the conditions that the first n pieces are as they were written.
func (p *planner) written(h head, n int) (conds []clientv3.Cmp) {
	for i, revision := range h.Pieces[:n] {
		conds = append(conds, clientv3.Compare(clientv3.ModRevision(p.keys.piece(h.Slot, i)), "=", revision))
	}
	return conds
}

// unchanged is the condition that a key of the plan is as it was read.
func (st *state) unchanged(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", st.slots[key])
}
