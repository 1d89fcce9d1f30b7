package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
)

// Hold is one acquisition of a lock. It lasts until it is unlocked or lost, and is
// not used again: the next Lock returns another. All methods may be called from
// several goroutines. The zero value is not valid.
type Hold struct {
	grant *queue.Grant
	// station is where the entry came from, nil if from etcd's queue directly, and
	// sequence how often it was handed on before.
	station  *station
	sequence int
}

// Context returns a context with the values of Lock's, but not its cancellation. It
// is done when the hold ends: at the lease's deadline at the latest, before anybody
// else can have been granted the lock. Its cause wraps [ErrLost] or [ErrReleased].
func (h *Hold) Context() context.Context { return h.grant.Context() }

// With returns a copy of ctx that also ends when the hold does, with the same cause. The
// returned function releases its resources.
func (h *Hold) With(ctx context.Context) (context.Context, context.CancelFunc) {
	return h.grant.With(ctx)
}

// Token returns the hold's fencing token, for resources that can check it.
func (h *Hold) Token() Token { return newToken(h.grant.Revision()) | Token(h.sequence) }

// Key returns the hold's key in etcd.
func (h *Hold) Key() string { return h.grant.Key() }

// Header says which answer of etcd the hold rests on: the one that confirmed its key, as of
// the key's create revision.
func (h *Hold) Header() lease.Header { return h.grant.Header() }

// Deadline returns the time until which nobody else can hold the lock, see
// [lease.Lease.Deadline]. Renewals of the lease move it forward; once the hold has ended it
// is no longer in the future.
func (h *Hold) Deadline() time.Time { return h.grant.Deadline() }

// Remaining returns the time left until the deadline, system suspension counted.
// Zero or less means that the hold is over.
func (h *Hold) Remaining() time.Duration { return h.grant.Remaining() }

// Err returns nil while the lock is held, and otherwise the cause of the hold's end, which
// wraps [ErrLost] or [ErrReleased].
func (h *Hold) Err() error { return h.grant.Err() }

// Guard returns conditions, one per key, that are true only while this hold's
// entries own their locks, for transactions of the caller's own making.
func (h *Hold) Guard() []clientv3.Cmp { return h.grant.Guard() }

// Txn returns a transaction that takes effect only while the lock is held: what is
// given to If, Then and Else runs under [Hold.Guard], in one round trip.
//
// Commit returns an error that wraps [ErrLost] if the guard failed, and then nothing was
// written. The response's Succeeded is about the caller's own conditions. Once the hold has
// ended, Commit refuses without a request.
//
// If it fails in another way, the outcome is unknown, as with any transaction: because ctx
// ended, or the hold did while the request was under way (then it returns at once with an
// error that says so and is not [ErrLost]), or there was no answer for a third of the TTL.
// It is sent again only after a refusal, or if it only reads: otherwise nobody could tell
// whether it had been carried out. In any case, it does not commit once the hold's key is
// gone.
//
// With conditions or an Else it is sent as a nested transaction. It may then have one
// operation fewer than the server's limit, or for a [Multi] as many fewer as it has names:
// with 64 names, half of etcd's default of 128. And some etcd servers let a user write in
// it what the user may not write otherwise, see the package comment.
func (h *Hold) Txn(ctx context.Context) clientv3.Txn { return h.grant.Txn(ctx) }

// ReleaseRequested returns a channel that is closed once somebody has asked for the lock
// with [RequestRelease]. What to do about it is up to the holder. The first call opens a
// watch, for as long as the hold lasts; holders that never call it pay nothing. After local
// hand-offs the next holder is asked too. Holds with [WithEtcdLayout] are never asked: there
// the channel stays open, and nothing is watched.
//
// Without read access to the requests, see docs/operations.md of the repository, one warning is
// logged, and the holder is asked once it has been given that access.
func (h *Hold) ReleaseRequested() <-chan struct{} { return h.grant.Requested() }

// Unlock ends the hold, locally at once, and then releases the lock, in one round
// trip, if this hold still has it. It returns an error that wraps [ErrLost] if the
// hold was lost before.
//
// ctx bounds only the wait: if it is done first, its error is returned and the session
// finishes the release in the background, so that defer h.Unlock(r.Context()) is right. ctx
// may be one that ends with the hold, like that of Do's function: that end does not count
// here, only its deadline does, and the end of the context that it was made from with
// [Hold.With]. Unlock may be called again, to wait again.
//
// If the lease ends before etcd has confirmed the release, Unlock returns an error
// that is not [ErrLost], because the lock was held up to the call: the lock is then
// free when the lease expires.
func (h *Hold) Unlock(ctx context.Context) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	err := h.release(ctx)
	if err != nil && !errors.Is(err, ErrLost) {
		return fmt.Errorf("lock: unlocking: %w", err)
	}
	return err
}

func (h *Hold) release(ctx context.Context) error {
	if h.station != nil {
		return h.station.unlock(ctx, h.grant)
	}
	return h.grant.Release(ctx)
}

// do calls fn and unlocks, also when fn panics.
func (h *Hold) do(ctx context.Context, fn func(ctx context.Context, h *Hold) error) (err error) {
	defer func() {
		// Any other error means that the lock was held to the end, and that the
		// session finishes its release.
		if unlocked := h.giveBack(ctx); errors.Is(unlocked, ErrLost) {
			err = errors.Join(err, unlocked)
		}
	}()
	within, cancel := h.With(ctx)
	defer cancel()
	return fn(within, h)
}

// giveBack unlocks, and waits for that also when ctx is done, within the session's grace.
func (h *Hold) giveBack(ctx context.Context) error {
	within, cancel := h.grant.Graced(ctx)
	defer cancel()
	return h.Unlock(within)
}
