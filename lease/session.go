package lease

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

// Session is a chain of leases on one client: when one is lost, the next use gets
// a new one. The locks, elections and registrations of a process share one session
// and with it one renewal per third of a TTL. All methods may be called from
// several goroutines. Use [NewSession]; the zero value is not valid.
type Session struct {
	client *clientv3.Client
	cfg    config
	ctx    context.Context // done once the session is closed
	cancel context.CancelCauseFunc
	turn   chan struct{} // holds one token: whoever has it may grant a lease
	reg    *registrar

	mu     sync.Mutex
	leases []*Lease // the newest last, after those that may not be revoked yet
}

// NewSession grants the session's first lease and keeps the session alive until
// Close. ctx bounds that first grant only.
//
// The client stays the caller's: close the session first, then the client. A
// client closed under a live session ends it: leases are lost at once and Lease
// returns [ErrClosed].
func NewSession(ctx context.Context, client *clientv3.Client, opts ...Option) (*Session, error) {
	cfg, err := newConfig(client, opts)
	if err != nil {
		return nil, err
	}
	s := &Session{client: client, cfg: cfg, turn: make(chan struct{}, 1)}
	//nolint:forbidigo // a session lives until it is closed; ctx bounds the first grant only
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.reg = newRegistrar(s)
	s.turn <- struct{}{}
	if _, err := s.Lease(ctx); err != nil {
		s.cancel(ErrClosed)
		return nil, err
	}
	return s, nil
}

// Client returns the client the session was made with.
func (s *Session) Client() *clientv3.Client { return s.client }

// Logger returns the logger set by [WithLogger], or one that discards.
func (s *Session) Logger() *slog.Logger { return s.cfg.log }

// Observer returns the callbacks set by [WithObserver].
func (s *Session) Observer() Observer { return s.cfg.observer }

// Lease returns the session's live lease. After a loss it grants a new one, trying
// until ctx ends; concurrent callers share it. It returns [ErrClosed] once the
// session or its client has been closed.
func (s *Session) Lease(ctx context.Context) (*Lease, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("lease: %w", attempt.Ended(ctx, nil))
	}
	if l, err := s.current(); l != nil || err != nil {
		return l, err
	}
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	case <-ctx.Done():
		return nil, fmt.Errorf("lease: waiting for a new lease: %w", attempt.Ended(ctx, nil))
	}
	if l, err := s.current(); l != nil || err != nil {
		return l, err
	}
	return s.grant(ctx)
}

// current returns the live lease, nil if there is none, or why there can be none.
func (s *Session) current() (*Lease, error) {
	if s.ctx.Err() != nil {
		return nil, context.Cause(s.ctx)
	}
	//nolint:forbidigo // not a deadline: with a closed client there is no session
	if s.client.Ctx().Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrClosed, errClientClosed)
	}
	if l := s.newest(); l != nil && l.Err() == nil {
		return l, nil
	}
	return nil, nil //nolint:nilnil // no lease and no error is an answer: the caller may grant one
}

// newest returns the last lease of the chain, ended or not, nil before the first.
func (s *Session) newest() *Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leases) == 0 {
		return nil
	}
	return s.leases[len(s.leases)-1]
}

// grant adds a lease to the chain. The turn must be held.
func (s *Session) grant(ctx context.Context) (*Lease, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(s.ctx, func() { cancel(ErrClosed) })
	defer stop()
	previous := s.newest()
	l, err := grant(ctx, s.client, s.cfg)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.leases = append(slices.DeleteFunc(s.leases, (*Lease).finished), l)
	s.mu.Unlock()
	if s.ctx.Err() != nil {
		l.end(Closed, ErrClosed)
		return nil, ErrClosed
	}
	if previous != nil {
		s.cfg.log.Info("session has a new lease", "lease", l.hex(), "previous", previous.hex())
	}
	return l, nil
}

// Close ends the session: its lease ends locally at once and is then revoked,
// which deletes every key attached to it; registrations end with it. ctx bounds
// only the wait for that and for the session's goroutines; what is left goes on in
// the background for up to one TTL. Close may be called again, to wait again.
func (s *Session) Close(ctx context.Context) error {
	s.cancel(ErrClosed)
	if l := s.newest(); l != nil {
		l.end(Closed, ErrClosed)
	}
	select { // a grant under way may still add a lease
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("lease: closing: %w", attempt.Ended(ctx, nil))
	}
	s.mu.Lock()
	leases := slices.Clone(s.leases)
	s.mu.Unlock()
	for _, l := range leases {
		if err := l.Close(ctx); err != nil {
			return err
		}
	}
	return s.reg.wait(ctx)
}
