package shard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// errOvertaken says that the plan is not what this one was made from.
var errOvertaken = errors.New("the plan has changed meanwhile")

// draft is a plan on its way into the store.
type draft struct {
	head

	pieces [][]byte
	// puts is how many pieces it has put, the last at a revision.
	puts     int
	revision int64
}

// draft returns the next plan. Its pieces go where those of the plan before the last were; so
// the last stays readable until the head has changed, and whole if it never does.
func (p *planner) draft(st *state, members []planMember, owners []string) *draft {
	d := &draft{pieces: encodePlan(members, owners, p.cfg.piece)}
	d.head = head{Version: 1, Shards: len(owners), Pieces: make([]int64, len(d.pieces)), Planner: p.name, Term: p.term.Token(), Made: time.Now().UTC()}
	if st.plan != nil {
		d.Version, d.Slot = st.plan.Version+1, 1-st.plan.Slot
	}
	for _, piece := range d.pieces {
		d.Size += len(piece)
	}
	return d
}

// write writes a plan, guarded by the term: a transaction for each piece that is not there
// already, and one for the last, which has the head. Each waits for its answer for as long as
// [election.Term.Txn] does: a plan is as slow as its pieces together, however many there are,
// and an attempt that fails leaves to the next what it has put.
//
// Each transaction requires that the head, and the piece that it overwrites, are as they were
// read, and all pieces before it of the revisions that the head will name: those at which they
// were written, or, of what was there, read. A key has one text at a revision. So a head never
// goes with a piece of another text, whoever has put that. A request that arrives late takes
// effect only in its term, while the head is as its attempt has found it, and nobody has
// touched its pieces since: a late piece is then one that no head names, or refuses the rest of
// the attempt that is under way; a late head makes its whole plan the next, in place of that
// attempt's, which is made anew. Once the head has changed, nothing of an earlier attempt takes
// effect any more.
func (p *planner) write(ctx context.Context, st *state, d *draft) error {
	for n, piece := range d.pieces {
		key := p.keys.piece(d.Slot, n)
		last := n == len(d.pieces)-1
		if there := st.slots[key]; !last && there.revision != 0 && bytes.Equal(there.text, piece) {
			d.Pieces[n] = there.revision
			continue
		}
		conds := append(p.named(d, n), st.unchanged(key), st.unchanged(p.keys.head()))
		ops := []clientv3.Op{clientv3.OpPut(key, string(piece))}
		if last {
			text, _ := json.Marshal(d.head) // numbers, strings and a time always encode
			ops = append(ops, clientv3.OpPut(p.keys.head(), string(text)))
		}
		resp, err := p.term.Txn(ctx).If(conds...).Then(ops...).Commit()
		switch {
		case err != nil:
			return err
		case !resp.Succeeded:
			return errOvertaken
		}
		d.puts++
		d.revision = resp.Header.Revision
		d.Pieces[n] = d.revision
	}
	return nil
}

// named are the conditions that the first n pieces are those that the head will name.
func (p *planner) named(d *draft, n int) (conds []clientv3.Cmp) {
	for i, revision := range d.Pieces[:n] {
		conds = append(conds, clientv3.Compare(clientv3.ModRevision(p.keys.piece(d.Slot, i)), "=", revision))
	}
	return conds
}

// unchanged is the condition that a key of the plan is as it was read.
func (st *state) unchanged(key string) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", st.slots[key].revision)
}

const (
	// firstRetry and lastRetry bound how long the planner waits after a plan that could not be
	// written.
	firstRetry = 200 * time.Millisecond
	lastRetry  = 5 * time.Second
	// reminder is how often it logs the same error of that.
	reminder = time.Minute
)

// trouble is that plans cannot be written.
type trouble struct {
	err   error         // why the last was not, nil if it was
	pause time.Duration // since then
	until time.Time     // when the pause is over
	// said is what was logged last, and when.
	said   string
	saidAt time.Time
}

// failed notes that a plan was not written, and reports whether to log that. The pause doubles,
// unless at least something was put.
func (t *trouble) failed(err error, puts int) (tell bool) {
	if t.pause = min(2*t.pause, lastRetry); t.err == nil || puts > 0 {
		t.pause = firstRetry
	}
	now := time.Now()
	t.err, t.until = err, now.Add(t.pause)
	if text := err.Error(); text != t.said || now.Sub(t.saidAt) >= reminder {
		t.said, t.saidAt = text, now
		return true
	}
	return false
}

// tryWrite writes the next plan, unless one could not be written a moment ago, and returns when
// to try again if it was not.
func (p *planner) tryWrite(ctx context.Context, st *state, members []planMember, owners []string, e *PlanEvent) (again time.Duration) {
	if wait := time.Until(p.unwritten.until); wait > 0 {
		e.Err = errors.Join(e.Err, p.unwritten.err)
		return wait
	}
	d := p.draft(st, members, owners)
	if err := p.write(ctx, st, d); err != nil {
		if p.unwritten.failed(err, d.puts) {
			p.log.Warn("shard: plan not written; trying again", "error", err)
		}
		e.Err = errors.Join(e.Err, err)
		return p.unwritten.pause
	}
	p.unwritten = trouble{}
	e.Version, e.Size, e.Written = d.Version, d.Size, true
	p.log.Info("shard: plan written", "version", e.Version, "members", e.Members, "moves", e.Moves, "placed", e.Placed, "pending", e.Pending)
	// The next round begins from it. What the wait ends with ends the term, too.
	_ = p.cache.WaitRevision(ctx, d.revision)
	return idle
}
