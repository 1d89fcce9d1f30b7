package watchlab

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	root      = "w/" // of everything that is written, and the namespace
	quiet     = "quiet/"
	narrow    = "b/"
	single    = "a/3"
	mark      = "mark"
	keys      = 25        // in each part
	mostBytes = 1_000_000 // of a transaction
)

// writeTimeout bounds a change.
const writeTimeout = 2 * time.Second

// highest is a number that only grows.
type highest struct{ n atomic.Int64 }

func (h *highest) get() int64 { return h.n.Load() }

func (h *highest) raise(n int64) {
	for old := h.n.Load(); n > old && !h.n.CompareAndSwap(old, n); old = h.n.Load() {
	}
}

// writer changes keys over a connection of its own to all members.
type writer struct {
	lab    *lab
	client *clientv3.Client
	draw   draw
	number int
	count  int
	lease  clientv3.LeaseID
}

// write makes the changes of a round. One that fails is left to the truth: it knows whether
// it took place.
func (w *writer) write(ctx context.Context, r RoundPlan) {
	for began, n := time.Now(), 0; n < r.Writes && time.Since(began) < writing && ctx.Err() == nil; n++ {
		bounded, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), writeTimeout)
		revision, err := w.change(bounded)
		cancel()
		if err != nil {
			w.lease = clientv3.NoLease
		}
		w.lab.acked.raise(revision)
		pause(ctx, w.draw.ms(0, int(r.Pause.Milliseconds())))
	}
}

// change makes one change, and returns its revision if it is known.
func (w *writer) change(ctx context.Context) (int64, error) {
	switch w.draw.IntN(30) {
	case 0:
		return w.attach(ctx)
	case 1:
		from := w.draw.IntN(keys)
		return revisionOf(w.client.Delete(ctx, w.key(from), clientv3.WithRange(w.key(from+5))))
	case 2:
		return w.commit(ctx, w.draw.between(40, 100)) // which may be divided on the way
	case 3, 4, 5, 6:
		return w.commit(ctx, w.draw.between(2, 8))
	}
	return w.commit(ctx, 1)
}

// attach gives the writer a lease for some of its keys, or revokes the one it has, which
// deletes them.
func (w *writer) attach(ctx context.Context) (int64, error) {
	if w.lease != clientv3.NoLease {
		resp, err := w.client.Revoke(ctx, w.lease)
		w.lease = clientv3.NoLease
		if err != nil {
			return 0, err
		}
		return resp.Header.Revision, nil
	}
	grant, err := w.client.Grant(ctx, 3600)
	if err == nil {
		w.lease = grant.ID
	}
	return 0, err
}

// commit changes n keys in one transaction.
func (w *writer) commit(ctx context.Context, n int) (int64, error) {
	var ops []clientv3.Op
	for _, k := range w.draw.Perm(3 * keys)[:min(n, 3*keys)] {
		key := w.key(k)
		switch {
		case w.draw.chance(12):
			ops = append(ops, clientv3.OpDelete(key))
		case w.draw.chance(12):
			ops = append(ops, clientv3.OpPut(key, w.value(n), clientv3.WithLease(w.lease)))
		default:
			ops = append(ops, clientv3.OpPut(key, w.value(n)))
		}
	}
	resp, err := w.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

// key returns one of all keys; those past the end of the last part are not used.
func (w *writer) key(k int) string {
	return fmt.Sprintf("%s%c/%d", root, 'a'+rune(k/keys%3), k%keys)
}

// value returns another value each time, one of n in a transaction.
func (w *writer) value(n int) string {
	w.count++
	size := w.draw.IntN(min(w.lab.plan.Value, mostBytes/n) + 1)
	if w.draw.chance(30) {
		size /= 10
	}
	return fmt.Sprintf("%d.%d%s", w.number, w.count, strings.Repeat(".", size))
}

func revisionOf(resp *clientv3.DeleteResponse, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}
