package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

// Session is a chain of leases on one client: when one is lost, the next use gets a new
// one. The locks, elections and registrations of a process share one session, and so one
// renewal per third of a TTL. All methods may be called from several goroutines. Use
// [NewSession]; the zero value is not valid.
type Session struct {
	client *clientv3.Client
	cfg    config
	ctx    context.Context // done once the session is closed
	cancel context.CancelCauseFunc
	turn   chan struct{} // holds one token: whoever has it may grant a lease
	reg    *registrar
	// heard are the callbacks of the observer, nil if none of them is for acquisitions.
	heard *Observer

	shared sync.Map // what its users have in common

	mu     sync.Mutex
	leases []*Lease // the newest last, and those that may not be revoked yet
	// granted counts the leases so far.
	granted int
	work    sync.WaitGroup
	// abandoned is set if leases are not to be revoked at the end.
	abandoned atomic.Bool
	granting  atomic.Bool // a lease ahead of its use
}

// NewSession grants the session's first lease and keeps the session alive until
// Close. ctx bounds that first grant only.
//
// The client remains the caller's: close the session first, then the client. A client
// closed under a live session ends it: leases are lost at once and Lease returns
// [ErrClosed].
func NewSession(ctx context.Context, client *clientv3.Client, opts ...Option) (*Session, error) {
	cfg, err := newConfig(client, opts)
	if err != nil {
		return nil, err
	}
	s := &Session{client: client, cfg: cfg, turn: make(chan struct{}, 1)}
	//nolint:forbidigo // a session lives until it is closed; ctx bounds the first grant only
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.cfg.session = s
	if s.cfg.observer.acquisitions() {
		s.heard = &s.cfg.observer
	}
	s.reg = newRegistrar(s)
	s.turn <- struct{}{}
	if _, err := s.Lease(ctx); err != nil {
		s.cancel(ErrClosed)
		return nil, err
	}
	s.warnOfVersion()
	return s, nil
}

// Client returns the client the session was made with.
func (s *Session) Client() *clientv3.Client { return s.client }

// Logger returns the logger set by [WithLogger], or one that discards.
func (s *Session) Logger() *slog.Logger { return s.cfg.log }

// Observer returns the callbacks set by [WithObserver], joined if it was given more than
// once.
func (s *Session) Observer() Observer { return s.cfg.observer }

// State returns the state of the session: [Healthy] or [Suspended], whichever is the better
// of its leases; [Lost] while it has none, which its next use will change; and [Closed]
// once it or its client is closed, or if it does not heal and has lost its lease.
func (s *Session) State() State {
	if s.closed() != nil {
		return Closed
	}
	best := Lost
	for _, l := range s.chain() {
		best = min(best, l.State()) // in this order they are declared
	}
	return best
}

// Lease returns the session's live lease. After a loss it grants a new one, trying
// until ctx ends; concurrent callers share it. It returns [ErrClosed] once the
// session or its client has been closed.
//
// A session that holds very many locks has several leases; this is one of them. The
// session replaces and closes it when for long it has not been known whether keys of its
// locks or registrations are in etcd, see [Lease.Doubts]. A key that the caller has put
// under its ID ends with it; [Register] keeps one in place across leases.
func (s *Session) Lease(ctx context.Context) (*Lease, error) {
	return s.obtain(ctx, (*Session).oldest)
}

// obtain returns the lease that pick finds, or a new one if it finds none.
func (s *Session) obtain(ctx context.Context, pick func(*Session) *Lease) (*Lease, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("lease: %w", attempt.Ended(ctx, nil))
	}
	if err := s.closed(); err != nil {
		return nil, err
	}
	if l := pick(s); l != nil {
		return l, nil
	}
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	case <-ctx.Done():
		return nil, fmt.Errorf("lease: waiting for a new lease: %w", attempt.Ended(ctx, nil))
	}
	if err := s.closed(); err != nil {
		return nil, err
	}
	if l := pick(s); l != nil {
		return l, nil
	}
	return s.grant(ctx)
}

// closed returns why the session can have no lease, nil if it can.
func (s *Session) closed() error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	//nolint:forbidigo // not a deadline: with a closed client there is no session
	if s.client.Ctx().Err() != nil {
		return fmt.Errorf("%w: %w", ErrClosed, errClientClosed)
	}
	return nil
}

// oldest returns the first of the chain's leases that is valid, nil if none is. Later ones
// are closed when they are not needed any more.
func (s *Session) oldest() *Lease {
	for _, l := range s.chain() {
		if l.Err() == nil && !l.draining.Load() {
			return l
		}
	}
	return nil
}

// grant adds a lease to the chain. The turn must be held.
func (s *Session) grant(ctx context.Context) (*Lease, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(s.ctx, func() { cancel(ErrClosed) })
	defer stop()
	if last := s.last(); last != nil { // which has just ended
		return nil, last.Err()
	}
	l, err := s.cfg.obtain(ctx, s.client)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	first := s.granted == 0
	s.granted++
	s.leases = append(slices.DeleteFunc(s.leases, (*Lease).finished), l)
	s.mu.Unlock()
	if s.ctx.Err() != nil {
		l.end(Closed, ErrClosed)
		return nil, ErrClosed
	}
	if s.cfg.final {
		context.AfterFunc(l.Context(), func() { s.cancel(l.Err()) })
	}
	if !first {
		s.cfg.log.Info("lease: session has a new lease", "lease", l.hex())
	}
	return l, nil
}

// Close ends the session: it waits for what is being removed in the background, then its
// leases end locally and are revoked, which deletes every key attached to them;
// registrations end with it. ctx bounds the wait for that and for the session's goroutines,
// but if it is done, or ends meanwhile, Close goes on for the grace of [WithGrace], or
// until it turns out that the server cannot be reached: so that
//
//	defer session.Close(ctx)
//
// hands over even when ctx is that of [os/signal.NotifyContext]. An error means that
// something is left to do, which goes on in the background for up to one TTL. Close may be
// called again, to wait again.
func (s *Session) Close(ctx context.Context) error {
	within, cancel := graced(ctx, s.cfg.grace)
	defer cancel()
	within, end := whileReachable(ctx, within, s.client)
	defer end()
	s.cancel(ErrClosed)
	s.awaitRemovals(within)
	for _, l := range s.chain() {
		l.end(Closed, ErrClosed)
	}
	select { // a grant under way may still add a lease
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-within.Done():
		return fmt.Errorf("lease: closing: %w", attempt.Ended(within, nil))
	}
	for _, l := range s.chain() {
		if err := l.close(within); err != nil {
			return err
		}
	}
	if err := (*inner)(s).wait(within); err != nil {
		return err
	}
	return s.reg.wait(within)
}

// awaitRemovals waits for what is being removed in the background: what a lease does not
// carry, such as the mark of a lock delay, would stay. It takes half of the grace at the most,
// so that there is time to revoke the leases.
func (s *Session) awaitRemovals(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.grace/2)
	defer cancel()
	for _, l := range s.chain() {
		if l.Err() == nil {
			l.look.AwaitRemovals(ctx)
		}
	}
}

// graced returns ctx without its end, which comes when the grace has passed after it.
func graced(ctx context.Context, grace time.Duration) (within context.Context, cancel context.CancelFunc) {
	within, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, func() { end(attempt.Ended(ctx, nil)) })
		context.AfterFunc(within, func() { timer.Stop() })
	})
	return within, func() { stop(); end(nil) }
}

// errUnreachable says that nobody waits for a server that cannot be reached.
var errUnreachable = errors.New("the server cannot be reached")

// whileReachable returns within, which ends also when ctx is done and the client finds no
// connection. A request is no sign of that: clientv3 has it wait for one, and one that is
// refused may have met a member without a leader, while the next would meet another.
func whileReachable(ctx, within context.Context, client *clientv3.Client) (reachable context.Context, end func()) {
	reachable, cancel := context.WithCancelCause(within)
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { // ends with reachable
		defer close(done)
		if attempt.AwaitFailure(reachable, client) {
			cancel(attempt.Ended(ctx, errUnreachable))
		}
	})
	return reachable, func() {
		cancel(nil)
		if !stop() {
			<-done
		}
	}
}

// chain returns all leases of which something may still go on.
func (s *Session) chain() []*Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.leases)
}
