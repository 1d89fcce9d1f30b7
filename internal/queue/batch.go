package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

const (
	// mostOut is how many transactions of a kind are out before the next are gathered, and
	// maxOut how many there are if some take longer than mostWait.
	mostOut = 2
	maxOut  = maxJoining
	// mostParts is how many parts make a batch: of an enqueue's two operations half of what
	// a transaction may have by default.
	mostParts = 32
	// mostWait is how long a part is gathered at most. Where answers come sooner, parts that go
	// out together spare the server work and lose nothing. Where they take longer, it is because
	// of the network, or of a member that has vanished, and a part would wait for up to an answer
	// more than alone. So no lock pays more than this for sharing.
	mostWait = 2 * time.Millisecond
	// mostShared is how long the value of an entry may be that goes out with others.
	mostShared = 4 << 10
)

// errUnsent says that a part was withdrawn before it went out.
var errUnsent = errors.New("queue: given up before it was sent")

// batches sends the transactions of one kind, enqueues or removals, of a session: group
// commit. While mostOut of them are out, what is asked for is gathered, and goes out
// together as soon as one of them is answered, or the first part has waited for mostWait: as
// one transaction with all conditions of its parts, and all operations. Nobody waits for
// others to come. If a condition does not hold, or the server refuses, nothing was done, and
// each part goes out alone. Without an answer each part is without an answer, and is repeated
// alone.
//
// The idea is that of a database's log: DeWitt et al., Implementation Techniques for Main
// Memory Database Systems, SIGMOD 1984.
type batches struct {
	mu    sync.Mutex
	out   int           // transactions that are out
	asked []*part       // what is asked for meanwhile, in order
	limit int           // parts in a batch, once the server has refused more; 0 is mostParts
	wait  time.Duration // how long a part is gathered at most, in tests; 0 is mostWait
	// alarm goes off when the first of those that are gathered is overdue, or before. It is not
	// set while maxOut are out, since the next answer sends what is overdue. It is nil until
	// anything was gathered.
	alarm *time.Timer
	// names are those of the parts that are out or asked for.
	names map[string]*part
}

// part is a transaction of one entry.
type part struct {
	entry           *entry
	conds           []clientv3.Cmp
	then, otherwise []clientv3.Op
	// shared is set if it may go out with others.
	shared bool
	// tried is set once it was tried: what goes out again does so alone, beside the first.
	tried atomic.Bool

	ctx     context.Context // the caller's
	since   time.Time       // when it was asked for
	batch   *batch          // in which it is, nil as long as it is in none
	left    bool            // set once the caller does not wait any more
	outcome chan outcome
}

// outcome is what became of a part: it was answered, or its turn has come to go out alone.
type outcome struct {
	resp  *clientv3.TxnResponse
	err   error
	alone bool
}

// alone sends the part.
func (p *part) alone(ctx context.Context) (*clientv3.TxnResponse, error) {
	return p.entry.q.Session.Client().Txn(ctx).If(p.conds...).Then(p.then...).Else(p.otherwise...).Commit()
}

// shareable reports whether the entry's transactions can go out with those of others. Two
// entries in a queue that has another within it could have one create revision; the others
// are large, or their conditions often fail.
func (e *entry) shareable() bool {
	return len(e.legs) == 1 && !e.q.Nests && e.q.Delay == nil && e.legs[0].lane.permits == 0 && len(e.value) <= mostShared
}

// commit sends a part, alone or with others. The first attempt only goes with others: when
// its answer is slow, or it has failed, the next is on its own.
func (b *batches) commit(ctx context.Context, p *part) (*clientv3.TxnResponse, error) {
	if !p.shared || p.tried.Swap(true) || !b.enter(p) {
		return p.alone(ctx)
	}
	defer b.exit(p)
	if b.ask(ctx, p) {
		defer b.done()
		return p.alone(ctx)
	}
	return b.await(ctx, p)
}

// await waits for what becomes of a part that is gathered.
func (b *batches) await(ctx context.Context, p *part) (*clientv3.TxnResponse, error) {
	select {
	case o := <-p.outcome:
		return b.conclude(ctx, p, o)
	case <-ctx.Done():
		return b.giveUp(ctx, p)
	}
}

// enter reports whether the part may go out with others: of each name one does, since two
// entries of one queue must not have one create revision. Those of a crowd for one name are
// no slower alone, side by side, and the first must not wait while others overtake it.
func (b *batches) enter(p *part) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit == 1 { // the server takes no two
		return false
	}
	if other, out := b.names[p.entry.q.Name]; out {
		b.hasten(other)
		return false
	}
	if b.names == nil {
		b.names = make(map[string]*part)
	}
	b.names[p.entry.q.Name] = p
	return true
}

// hasten sends a part alone if it is gathered. mu must be held.
func (b *batches) hasten(p *part) {
	if i := slices.Index(b.asked, p); i >= 0 {
		b.asked = slices.Delete(b.asked, i, i+1)
		b.out++
		p.outcome <- outcome{alone: true}
	}
}

// exit is called once the caller of a part that has entered does not wait any more.
func (b *batches) exit(p *part) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.names, p.entry.q.Name)
}

// conclude returns what became of a part.
func (b *batches) conclude(ctx context.Context, p *part, o outcome) (*clientv3.TxnResponse, error) {
	if !o.alone {
		return o.resp, o.err
	}
	defer b.done()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", errUnsent, ctx.Err())
	}
	return p.alone(ctx)
}

// ask has the part go out, and reports whether it shall do so at once, alone.
func (b *batches) ask(ctx context.Context, p *part) (now bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out < mostOut {
		b.out++
		return true
	}
	p.ctx, p.since, p.outcome = ctx, time.Now(), make(chan outcome, 1)
	if b.asked = append(b.asked, p); len(b.asked) == 1 {
		b.setAlarm()
	}
	return false
}

// overdueIn returns for how long the first part that is gathered may wait. mu must be held.
func (b *batches) overdueIn() time.Duration {
	return cmp.Or(b.wait, mostWait) - time.Since(b.asked[0].since)
}

// setAlarm has what is gathered go out, although the others are not answered yet, when the
// first is overdue. mu must be held.
func (b *batches) setAlarm() {
	if b.alarm == nil {
		b.alarm = time.AfterFunc(b.overdueIn(), b.hurry)
	} else {
		b.alarm.Reset(b.overdueIn())
	}
}

// hurry sends what is overdue.
func (b *batches) hurry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flush()
}

// withdraw takes back what is asked for, and reports whether it has not been sent.
func (b *batches) withdraw(p *part) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.asked, p)
	if i < 0 {
		return false
	}
	b.asked = slices.Delete(b.asked, i, i+1)
	return true
}

// giveUp is for a part whose caller does not wait any more.
func (b *batches) giveUp(ctx context.Context, p *part) (*clientv3.TxnResponse, error) {
	if b.withdraw(p) {
		return nil, fmt.Errorf("%w: %w", errUnsent, ctx.Err())
	}
	b.mu.Lock()
	select {
	case o := <-p.outcome: // it came at the same time
		b.mu.Unlock()
		return b.conclude(ctx, p, o)
	default:
	}
	p.left = true
	b.mu.Unlock()
	p.batch.leave()
	return nil, ctx.Err()
}

// done notes that a transaction is not out any more, and sends the next.
func (b *batches) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out--
	b.flush()
}

// flush sends what is gathered, as far as its turn has come. mu must be held.
func (b *batches) flush() {
	for len(b.asked) > 0 && (b.out < mostOut || b.out < maxOut && b.overdueIn() <= 0) {
		b.out++
		b.next()
	}
	if len(b.asked) > 0 && b.out < maxOut {
		b.setAlarm()
	}
}

// next sends what is asked for, as much as goes into one transaction: what is of the first
// one's lease, since the server refuses all if a lease has ended. mu must be held.
func (b *batches) next() {
	var parts, rest []*part
	for _, p := range b.asked {
		if len(parts) < cmp.Or(b.limit, mostParts) && p.entry.lease == b.asked[0].entry.lease {
			parts = append(parts, p)
		} else {
			rest = append(rest, p)
		}
	}
	b.asked = rest
	if len(parts) == 1 {
		parts[0].outcome <- outcome{alone: true}
		return
	}
	together := newBatch(parts)
	for _, p := range parts {
		p.batch = together
	}
	go b.send(together)
}

// batch is parts that go out as one transaction.
type batch struct {
	parts  []*part
	ctx    context.Context
	cancel context.CancelFunc
	// waiting counts the callers that wait for the answer.
	waiting atomic.Int64
}

// newBatch returns a batch. Its context has the values of the first part's.
func newBatch(parts []*part) *batch {
	t := &batch{parts: parts}
	t.waiting.Store(int64(len(parts)))
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(parts[0].ctx))
	return t
}

// leave is called by each caller that does not wait any more: with the last of them the
// transaction is given up.
func (t *batch) leave() {
	if t.waiting.Add(-1) == 0 {
		t.cancel()
	}
}

// send sends a batch and tells its parts what became of it.
func (b *batches) send(t *batch) {
	defer t.cancel()
	first := t.parts[0]
	conds := make([]clientv3.Cmp, 0, len(t.parts)*len(first.conds))
	then := make([]clientv3.Op, 0, len(t.parts)*len(first.then))
	for _, p := range t.parts {
		conds, then = append(conds, p.conds...), append(then, p.then...)
	}
	resp, err := first.entry.q.Session.Client().Txn(t.ctx).If(conds...).Then(then...).Commit()
	switch {
	case err == nil && resp.Succeeded:
		t.answer(resp)
		b.look(t)
	case err != nil && (attempt.Uncertain(err) || attempt.Transient(err)):
		b.learn(t, err)
		for _, p := range t.parts {
			p.outcome <- outcome{err: attempt.Shared(err)}
		}
	default:
		b.learn(t, err)
		b.apart(t)
	}
	b.done()
}

// answer gives each part its part of the answer.
func (t *batch) answer(resp *clientv3.TxnResponse) {
	answers := resp.Responses
	for _, p := range t.parts {
		n := len(p.then)
		p.outcome <- outcome{resp: &clientv3.TxnResponse{Header: resp.Header, Succeeded: true, Responses: answers[:n:n]}}
		answers = answers[n:]
	}
}

// look has the parts of a batch that were done and whose callers had left looked for: what
// those have removed meanwhile may have come after that.
func (b *batches) look(t *batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range t.parts {
		if p.left {
			p.entry.keys.Soon()
		}
	}
}

// learn makes batches smaller if one was refused as too large, or its answer was.
func (b *batches) learn(t *batch, err error) {
	if errors.Is(rpctypes.Error(err), rpctypes.ErrTooManyOps) || attempt.TooLarge(err) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.limit = min(cmp.Or(b.limit, mostParts), max(len(t.parts)/2, 1))
	}
}

// apart has each part of a batch go out alone that did nothing, because the server has
// refused it or a condition did not hold.
func (b *batches) apart(t *batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range t.parts {
		if !p.left {
			b.out++
			p.outcome <- outcome{alone: true}
		}
	}
}
