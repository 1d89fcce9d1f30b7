package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/clock"
	"github.com/conclave-go/conclave/internal/look"
	"github.com/conclave-go/conclave/internal/race"
)

// Lease is one etcd lease that is kept alive until it is closed or lost. It does not heal:
// once it has ended it stays ended, see [Session]. All methods may be called from several
// goroutines. Use [Grant] or [Session.Lease]; the zero value is not valid.
type Lease struct {
	client *clientv3.Client
	id     clientv3.LeaseID
	ttl    time.Duration
	cfg    config

	ctx    context.Context
	cancel context.CancelCauseFunc
	// done is closed when the keeper goroutine has returned.
	done chan struct{}

	look  *look.List
	timer *clock.Timer // ends the lease at its deadline
	// draining is set once nothing new is put under the lease, see Session.tidy.
	draining atomic.Bool

	mu    sync.Mutex
	state State
	until clock.Instant // the deadline, suspension counted
	wall  time.Time     // the deadline as callers see it
	// confirmed is when the last confirmed renewal was sent, the grant being the first.
	confirmed clock.Instant
	// failure is why the last round was not confirmed.
	failure error
	// changes holds states that were not told yet; telling is set while somebody tells
	// them.
	changes []change
	telling bool
}

// change is a state to be told of.
type change struct {
	to    State
	first bool // it was granted so, which is no change to a listener
}

// ID returns the lease's ID in etcd.
func (l *Lease) ID() clientv3.LeaseID { return l.id }

// TTL returns the time to live as granted by the server, which may be more than
// was asked for.
func (l *Lease) TTL() time.Duration { return l.ttl }

// Context returns a context that is done as soon as the lease has ended. Its
// cause then wraps [ErrLost] or [ErrClosed] and says why.
func (l *Lease) Context() context.Context { return l.ctx }

// Deadline returns the time until which no other client can hold what this lease protects:
// the start of the last confirmed renewal plus the TTL, less the allowance for clock drift.
// Confirmed renewals move it forward. Once the lease has ended it is no longer in the
// future. It does not account for a suspension of the machine; [Lease.Remaining] does.
func (l *Lease) Deadline() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wall
}

// Remaining returns the time left until the deadline, with time spent in system suspension
// counted where the platform reports it (Linux). Zero or less means that the lease is over.
func (l *Lease) Remaining() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return clock.Until(l.until)
}

// SinceRenewal returns how long ago the last confirmed renewal was sent, or the grant if
// there was none yet, suspension counted as for Remaining. While all is well it stays
// below about a third of the TTL.
func (l *Lease) SinceRenewal() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return clock.Now().Sub(l.confirmed)
}

// Doubts returns the number of keys that may or may not be in etcd, after replies were
// lost, or a removal failed. They are removed in the next rounds if they turn up, and end
// with the lease, which the session replaces when it carries nothing else.
func (l *Lease) Doubts() int { return l.look.Doubts() }

// Session returns the session that the lease belongs to, nil for one of [Grant].
func (l *Lease) Session() *Session { return l.cfg.session }

// Err returns nil while the lease is valid, and afterwards the cause of its end,
// which wraps [ErrLost] or [ErrClosed].
func (l *Lease) Err() error {
	l.mu.Lock()
	expired := !l.state.Ended() && clock.Until(l.until) <= 0
	l.mu.Unlock()
	if expired {
		l.expire()
	}
	return context.Cause(l.ctx)
}

// State returns the lease's current state.
func (l *Lease) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Close ends the lease: locally at once, then on the server, which deletes every
// key attached to it. ctx bounds only the wait, which goes on after its end for the grace
// of [WithGrace] or until it turns out that the server cannot be reached. Then Close
// returns an error and the revocation goes on in the background for up to one
// TTL, after which the server has expired the lease anyway. Close after the end
// waits for what is still going on and returns nil.
func (l *Lease) Close(ctx context.Context) error {
	l.end(Closed, ErrClosed)
	within, cancel := graced(ctx, l.cfg.grace)
	defer cancel()
	within, end := whileReachable(ctx, within, l.client)
	defer end()
	return l.close(within)
}

// close waits for what goes on after the end of a lease.
func (l *Lease) close(ctx context.Context) error {
	select {
	case <-l.done:
		return nil
	default:
	}
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("lease: closing %x: revocation goes on in the background: %w", int64(l.id), context.Cause(ctx))
	}
}

// finished reports whether nothing of the lease goes on any more.
func (l *Lease) finished() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// end makes the lease over, unless it already is. The context ends before anything else happens, so that whoever relies on
// the lease knows before the server can.
func (l *Lease) end(s State, cause error) {
	l.mu.Lock()
	if l.state.Ended() {
		l.mu.Unlock()
		return
	}
	l.cancel(cause)
	l.until = min(l.until, clock.Now())
	if now := time.Now(); now.Before(l.wall) { // the clocks differ by suspensions
		l.wall = now
	}
	l.changeTo(s)
	l.mu.Unlock()
	l.timer.Stop()
	if s == Lost {
		l.cfg.log.Warn("lease: lost", "lease", l.hex(), "cause", cause)
		if l.cfg.observer.Lost != nil {
			l.cfg.observer.Lost(l, cause)
		}
	}
	l.tell()
}

// lose ends the lease because of why.
func (l *Lease) lose(why error) {
	l.end(Lost, fmt.Errorf("%w: %w", ErrLost, why))
}

// expire ends the lease because its deadline has passed.
func (l *Lease) expire() {
	l.mu.Lock()
	last := l.failure
	l.mu.Unlock()
	if last == nil {
		l.lose(errDeadline)
		return
	}
	//nolint:errorlint // the reason is the deadline, see ReasonOf
	l.lose(fmt.Errorf("%w (last attempt: %v)", errDeadline, last))
}

// extend moves the deadline to that of a renewal sent at start, and reports whether
// it did: not if the lease ended before, because a reply to a request from before a
// lapse revives nothing.
func (l *Lease) extend(start clock.Instant, wall time.Time, ttl time.Duration) bool {
	valid := l.cfg.valid(ttl)
	l.mu.Lock()
	if l.state.Ended() || clock.Until(l.until) <= 0 {
		l.mu.Unlock()
		return false
	}
	if until := start.Add(valid); until > l.until {
		l.until, l.wall = until, wall.Add(valid)
	}
	l.confirmed, l.failure = max(l.confirmed, start), nil
	l.timer.Reset(l.until)
	// A renewal that took long to be confirmed leaves it as it is.
	healed := l.state == Suspended && clock.Now().Sub(l.confirmed) < l.overdue()
	if healed {
		l.changeTo(Healthy)
	}
	l.mu.Unlock()
	if healed {
		l.cfg.log.Info("lease: healthy again", "lease", l.hex())
	}
	l.tell()
	return true
}

// valid returns how much of a TTL can be relied on.
func (c config) valid(ttl time.Duration) time.Duration {
	ttl = min(ttl, MaxTTL)
	return ttl - time.Duration(float64(ttl)*c.drift)
}

// failed notes that a renewal was not confirmed: it is overdue only if none has been for
// long, since the next attempt may reach another member at once.
func (l *Lease) failed(why error) {
	overdue := l.SinceRenewal() >= l.overdue()
	l.mu.Lock()
	refused := errors.Is(why, errRefused) && !errors.Is(l.failure, errRefused)
	first := overdue && l.state == Healthy
	if !errors.Is(l.failure, errRefused) || !consequent(why) {
		l.failure = why
	}
	if first {
		l.changeTo(Suspended)
	}
	l.mu.Unlock()
	if refused {
		l.cfg.log.Warn("lease: renewal refused; the lease and all that is under it is lost unless that changes", "lease", l.hex(), "remaining", l.Remaining(), "error", why)
	}
	if first {
		l.cfg.log.Info("lease: renewal overdue", "lease", l.hex(), "remaining", l.Remaining(), "error", why)
	} else {
		l.cfg.log.Debug("lease: renewal failed", "lease", l.hex(), "remaining", l.Remaining(), "error", why)
	}
	l.tell()
}

// consequent reports whether an error may be the consequence of a refusal, which is then what
// is to be told.
func consequent(err error) bool { return errors.Is(err, errOverdue) || errors.Is(err, errStreamEnded) }

// changeTo sets the state and notes it for those who listen. mu must be held.
func (l *Lease) changeTo(s State) {
	if l.state == s {
		return
	}
	if race.Enabled && (l.state.Ended() || s.Ended() && (l.ctx.Err() == nil || clock.Until(l.until) > 0)) {
		panic(fmt.Sprintf("lease: one that is %v becomes %v with %v left and its context at %v", l.state, s, clock.Until(l.until), l.ctx.Err()))
	}
	l.state = s
	l.note(change{to: s})
}

// note keeps a change to be told, if anybody listens. mu must be held.
func (l *Lease) note(c change) {
	if l.cfg.listener != nil || l.cfg.observer.Changed != nil {
		l.changes = append(l.changes, c)
	}
}

// tell reports changes of state to those who listen. Whoever comes first tells all of
// them, so that they arrive one at a time and in order.
func (l *Lease) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.telling {
		return
	}
	l.telling = true
	defer func() { l.telling = false }()
	for len(l.changes) > 0 {
		c := l.changes[0]
		l.changes = l.changes[1:]
		func() {
			l.mu.Unlock()
			defer l.mu.Lock()
			l.report(c)
		}()
	}
}

func (l *Lease) report(c change) {
	if l.cfg.observer.Changed != nil {
		l.cfg.observer.Changed(l, c.to)
	}
	if l.cfg.listener != nil && !c.first {
		l.cfg.listener(l, c.to)
	}
}

func (l *Lease) hex() string { return fmt.Sprintf("%x", int64(l.id)) }
