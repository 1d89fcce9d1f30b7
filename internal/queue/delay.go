package queue

import (
	"context"
	"encoding/json"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

// A queue with a delay has a marker: a key without lease that an owner puts when it is
// granted and deletes when it releases, in the same transaction as its entry. So whoever
// comes to the front and finds another's marker knows that the owner before was lost,
// and waits before it takes the marker over. The idea is Chubby's lock-delay.

// mark is what a marker says.
type mark struct {
	// Nonce is that of the owner's entry.
	Nonce string `json:"nonce"`
	// Owner describes the owner.
	Owner string `json:"owner,omitempty"`
	// Delay is how long the next shall wait.
	Delay time.Duration `json:"delay"`
}

func (m mark) encode() string {
	v, err := json.Marshal(m)
	if err != nil {
		panic("queue: a mark cannot be encoded: " + err.Error()) // strings and a number can
	}
	return string(v)
}

func parseMark(kv *mvccpb.KeyValue) mark {
	var m mark
	if err := json.Unmarshal(kv.Value, &m); err != nil {
		return mark{} // made by hand
	}
	return m
}

// marker returns the key of the queue's marker.
func (q *Queue) marker() string { return Prefix(q.Name, "delay") + q.Kind }

// ownMark returns the entry's mark.
func (e *entry) ownMark() string {
	return mark{Nonce: e.record.Nonce, Owner: e.record.Owner, Delay: e.q.Delay}.encode()
}

// unmarked is the condition that nobody's mark is there.
func (e *entry) unmarked() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(e.q.marker()), "=", 0)
}

// marking returns operations, one if the queue has a delay, that leave the mark together
// with an entry that owns at once.
func (e *entry) marking() []clientv3.Op {
	if e.q.Delay == 0 {
		return nil
	}
	// Conditions of nested transactions are evaluated before anything is put.
	free := []clientv3.Cmp{e.legs[0].lane.free(0), e.unmarked()}
	return []clientv3.Op{clientv3.OpTxn(free, []clientv3.Op{clientv3.OpPut(e.q.marker(), e.ownMark())}, nil)}
}

// unmarking returns operations, one if the queue has a delay, that remove the mark if it
// is the entry's.
func (e *entry) unmarking() []clientv3.Op {
	if e.q.Delay == 0 {
		return nil
	}
	own := clientv3.Compare(clientv3.Value(e.q.marker()), "=", e.ownMark())
	return []clientv3.Op{clientv3.OpTxn([]clientv3.Cmp{own}, []clientv3.Op{clientv3.OpDelete(e.q.marker())}, nil)}
}

// claim leaves the entry's mark, after waiting for the delay if it finds another's. The
// entry must be the first of its queue.
func (e *entry) claim(ctx context.Context, c *Call) error {
	if e.q.Delay == 0 || e.marked {
		return nil
	}
	ctx, done := e.bind(ctx)
	defer done()
	due := e.unmarked() // or the mark is that of the owner who has been waited for
	for {
		found, err := e.tryClaim(ctx, due)
		if err != nil || found == nil {
			return err
		}
		if string(found.Value) == e.ownMark() { // an earlier attempt went through
			return nil
		}
		if due = e.unmarked(); found.ModRevision == 0 {
			continue
		}
		// By its value: one that was given an end meanwhile is still the same.
		due = clientv3.Compare(clientv3.Value(e.q.marker()), "=", string(found.Value))
		m := parseMark(found)
		delay := max(m.Delay, e.q.Delay)
		e.log().Warn("queue: owner before was lost; waiting before the grant", "owner", m.Owner, "delay", delay)
		e.tellWaiting(c)
		if !pauseFor(ctx, delay) {
			return attempt.Ended(ctx, nil)
		}
	}
}

// tryClaim puts the mark if the given condition holds of the one that is there, and
// otherwise returns that.
func (e *entry) tryClaim(ctx context.Context, due clientv3.Cmp) (found *mvccpb.KeyValue, err error) {
	err = e.do(ctx, func(ctx context.Context) error {
		found = nil
		resp, err := e.q.Session.Client().Txn(ctx).
			If(append(e.same(), due)...).
			Then(clientv3.OpPut(e.q.marker(), e.ownMark())).
			Else(clientv3.OpGet(e.key()), clientv3.OpGet(e.q.marker())).
			Commit()
		switch {
		case err != nil || resp.Succeeded:
			return err
		case !e.is(first(resp, 0)):
			return errOwnGone
		}
		if found = first(resp, 1); found == nil {
			found = &mvccpb.KeyValue{} // gone since it was waited for
		}
		return nil
	})
	return found, err
}

// pauseFor waits for d and reports whether ctx is still going.
func pauseFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// countDown lets the mark of a lost owner expire after its delay, in the background: for
// those who do not wait, since each of them would find it again.
func (e *entry) countDown(found *mvccpb.KeyValue) {
	if found.Lease != 0 {
		return
	}
	delay := max(parseMark(found).Delay, e.q.Delay)
	client, marker := e.q.Session.Client(), e.q.marker()
	e.keys.Go(func(ctx context.Context) {
		err := e.do(ctx, func(ctx context.Context) error {
			granted, err := client.Grant(ctx, int64((delay+time.Second-1)/time.Second))
			if err != nil {
				return err
			}
			resp, err := client.Txn(ctx).
				If(clientv3.Compare(clientv3.ModRevision(marker), "=", found.ModRevision)).
				Then(clientv3.OpPut(marker, string(found.Value), clientv3.WithLease(granted.ID))).
				Commit()
			if err == nil && !resp.Succeeded { // somebody was faster
				_, err = client.Revoke(ctx, granted.ID)
			}
			return err
		})
		if err != nil && e.lease.Err() == nil {
			e.log().Warn("queue: mark of a lost owner not given an end", "error", err)
		}
	})
}
