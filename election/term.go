package election

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// Term is the time for which a candidate leads. It lasts until the leader resigns or
// the term is lost, and is not used again: the next campaign returns another. All
// methods may be called from several goroutines. The zero value is not valid.
type Term struct {
	queue *queue.Queue
	grant *queue.Grant
	// turn holds one token: whoever has it may put a value.
	turn  chan struct{}
	place place
	cfg   config
	local *local // which lasts as long as the term

	mu     sync.Mutex
	header lease.Header
}

// Context returns a context with the values of Campaign's, but not its cancellation. It
// is done when the term ends: at the lease's deadline at the latest, before anybody
// else can have been elected. Its cause wraps [ErrLost] or [ErrResigned].
func (t *Term) Context() context.Context { return t.grant.Context() }

// With returns a copy of ctx that also ends when the term does, with the same cause. The
// returned function releases its resources.
func (t *Term) With(ctx context.Context) (context.Context, context.CancelFunc) {
	return t.grant.With(ctx)
}

// Token returns the term's number, which is its fencing token: it strictly increases from
// one term of an election to the next. See [lock.Fence] for resources that check it.
func (t *Term) Token() lock.Token { return newToken(t.grant.Revision()) }

// Key returns the leader's key in etcd.
func (t *Term) Key() string { return t.grant.Key() }

// Header says which answer of etcd the term rests on: the one that confirmed its key, as of
// the key's create revision, or that to the last [Term.Proclaim].
func (t *Term) Header() lease.Header {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.header
}

// Deadline returns the time until which nobody else can lead, see [lease.Lease.Deadline].
// Renewals of the lease move it forward; once the term has ended it is no longer in the
// future.
func (t *Term) Deadline() time.Time { return t.grant.Deadline() }

// Remaining returns the time left until the deadline, system suspension counted. Zero
// or less means that the term is over.
func (t *Term) Remaining() time.Duration { return t.grant.Remaining() }

// Err returns nil while the term lasts, and otherwise the cause of its end, which wraps
// [ErrLost] or [ErrResigned].
func (t *Term) Err() error { return t.grant.Err() }

// Guard returns conditions that are true only while this term's key leads, for
// transactions of the caller's own making.
func (t *Term) Guard() []clientv3.Cmp { return t.grant.Guard() }

// Txn returns a transaction that takes effect only during the term: what is given to
// If, Then and Else runs under [Term.Guard], in one round trip.
//
// Commit returns an error that wraps [ErrLost] if the guard failed, and then nothing was
// written. The response's Succeeded is about the caller's own conditions. Once the term has
// ended, Commit refuses without a request. If it fails in another way, the outcome is
// unknown: because ctx ended, the term did while the request was under way, or there was no
// answer for a third of the TTL. Everything else is as for [lock.Hold.Txn].
func (t *Term) Txn(ctx context.Context) clientv3.Txn { return t.grant.Txn(ctx) }

// Proclaim replaces the value that the leader was elected with, in one round trip, if
// it still leads; [Observe] shows the change. Concurrent calls wait for each other.
//
// It returns an error that wraps [ErrLost] or [ErrResigned] if the term has ended: nothing
// is written on behalf of a former leader. If it fails in another way, for example because
// ctx ended, the value may have been replaced or may still be, but not after the next
// Proclaim that succeeds.
func (t *Term) Proclaim(ctx context.Context, value string) error {
	if err := errors.Join(checkContext(ctx), t.cfg.checkValue(value)); err != nil {
		return err
	}
	if err := t.Err(); err != nil {
		return err
	}
	select {
	case <-t.turn:
		defer func() { t.turn <- struct{}{} }()
	case <-t.Context().Done():
		return t.Err()
	case <-ctx.Done():
		return fmt.Errorf("election: proclaiming: %w", attempt.Ended(ctx, nil))
	}
	header, err := t.grant.Put(ctx, value)
	if ended := t.Err(); ended != nil {
		return ended
	}
	if err != nil {
		return fmt.Errorf("election: proclaiming: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.header = header
	return nil
}

// Resign ends the term, locally at once, and then gives up the leadership, in one round
// trip, if this term still has it. It returns an error that wraps [ErrLost] if the term
// was lost before.
//
// ctx bounds only the wait: if it is done first, its error is returned and the session
// finishes the resignation in the background. ctx may be lead's own, or another from
// [Term.With], which ends with the term: that end does not count here, only its deadline
// does, and the end of the context that With was given. Resign may be called again, to wait
// again.
//
// If the lease ends before etcd has confirmed the resignation, Resign returns an error
// that is not [ErrLost], because the term lasted up to the call: the next candidate is
// then elected when the lease expires.
func (t *Term) Resign(ctx context.Context) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	return t.release(ctx)
}

func (t *Term) release(ctx context.Context) error {
	return t.explain("resigning", t.grant.Release(ctx))
}

// explain says what failed with err, unless that is the loss of the term.
func (t *Term) explain(what string, err error) error {
	if err == nil || errors.Is(err, ErrLost) {
		return err
	}
	return fmt.Errorf("election: %s: %w", what, err)
}

func newToken(revision int64) lock.Token { return lock.Token(revision << queue.SequenceBits) }
