package concurrency

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
)

const (
	// defaultTTL is that of the other library, in seconds.
	defaultTTL = 60
	// longestTTL is that of package lease's own leases.
	longestTTL = int(lease.MaxTTL / time.Second)
)

// Session is a lease that is kept alive until it is lost, closed or orphaned: then it is
// over for good. All methods may be called from several goroutines. Use [NewSession]; the
// zero value is not valid.
type Session struct {
	client *clientv3.Client
	opts   sessionOptions
	inner  *lease.Session
	lease  *lease.Lease

	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{}
	over   chan struct{} // closed when nothing of the session goes on any more

	mu       sync.Mutex
	orphaned bool
	closed   bool // the lease was revoked
	claims   map[claimKey]*claim
	terms    map[string]*election.Term // those that last, by their keys
	// unsettled counts the proclamations that have failed since one has succeeded: any of them
	// may still take effect.
	unsettled map[*election.Term]int
	// resumed are the elections that lead with a key of no term of this process.
	resumed map[string]*Election
	// calls counts those that put or delete keys, and idle, if not nil, is closed when there
	// are none any more.
	calls int
	idle  chan struct{}
}

// NewSession grants a lease, or adopts one, and keeps it alive. The context of
// [WithContext], by default the client's, ends the wait for that and later the session.
//
// It has no context of its own: without WithContext it waits for a server that does not
// answer until the client is closed.
func NewSession(client *clientv3.Client, opts ...SessionOption) (*Session, error) {
	if client == nil {
		return nil, errors.New("concurrency: client is nil: must be a connected *clientv3.Client")
	}
	//nolint:forbidigo // as in the other library
	o := sessionOptions{ttl: defaultTTL, ctx: client.Ctx()}
	for _, opt := range opts {
		opt(&o, client.GetLogger())
	}
	if o.ctx == nil {
		return nil, errNilContext
	}
	inner, l, err := o.open(client)
	if err != nil {
		return nil, plain(o.ctx, err)
	}
	s := &Session{
		client: client, opts: o, inner: inner, lease: l, done: make(chan struct{}), over: make(chan struct{}),
		claims: make(map[claimKey]*claim), terms: make(map[string]*election.Term), resumed: make(map[string]*Election),
		unsettled: make(map[*election.Term]int),
	}
	s.ctx, s.cancel = context.WithCancelCause(o.ctx)
	go s.watch() // ends with the lease
	return s, nil
}

// open returns a session on the lease that is asked for.
func (o sessionOptions) open(client *clientv3.Client) (*lease.Session, *lease.Lease, error) {
	id := o.leaseID
	var err error
	if id == clientv3.NoLease && o.ttl > longestTTL {
		if id, err = o.grant(client); err != nil {
			return nil, nil, err
		}
	}
	var s *lease.Session
	if id != clientv3.NoLease {
		s, err = lease.Adopt(o.ctx, client, id, o.inner...)
	} else {
		ttl := lease.WithTTL(time.Duration(o.ttl) * time.Second) // no more than longestTTL
		s, err = lease.NewSession(o.ctx, client, append([]lease.Option{ttl, lease.WithoutHealing()}, o.inner...)...)
	}
	if err != nil {
		return nil, nil, err
	}
	l, err := s.Lease(o.ctx)
	if err != nil {
		abandon(o.ctx, s)
		return nil, nil, err
	}
	return s, l, nil
}

// grant returns a lease that lasts longer than package lease would have it.
func (o sessionOptions) grant(client *clientv3.Client) (clientv3.LeaseID, error) {
	if int64(o.ttl) > clientv3.MaxLeaseTTL {
		return clientv3.NoLease, fmt.Errorf("TTL %d: must be at most %d seconds: %w", o.ttl, int64(clientv3.MaxLeaseTTL), rpctypes.ErrLeaseTTLTooLarge)
	}
	granted, err := led(o.ctx, request{client, "concurrency: granting a lease"}, func(ctx context.Context) (*clientv3.LeaseGrantResponse, error) {
		return client.Grant(ctx, int64(o.ttl))
	})
	if err != nil {
		return clientv3.NoLease, err
	}
	return granted.ID, nil
}

// watch ends the session with its lease, and with the context that it was given.
func (s *Session) watch() {
	defer close(s.over)
	left := make(chan struct{})
	select {
	case <-s.lease.Context().Done():
		close(left)
	case <-s.ctx.Done():
		// Beside: a listener to the lease's state may ask for Done, and is waited for there.
		go func() {
			defer close(left)
			s.awaitCalls()
			abandon(s.ctx, s.inner)
		}()
		<-s.lease.Context().Done()
	}
	s.cancel(context.Cause(s.lease.Context()))
	close(s.done)
	<-left
}

// awaitCalls waits for the calls under way: what a waiter has put is removed only while the
// lease lives. The end of the session ends them, but not at once if the program hangs in a
// callback, or for a removal without an answer.
func (s *Session) awaitCalls() {
	s.mu.Lock()
	if s.calls == 0 {
		s.mu.Unlock()
		return
	}
	idle := make(chan struct{})
	s.idle = idle
	s.mu.Unlock()
	timer := time.NewTimer(lease.DefaultGrace)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	case <-s.lease.Context().Done():
	}
}

// call notes a call that puts or deletes keys, until end is called.
func (s *Session) call() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.called()
}

// called is call. mu must be held.
func (s *Session) called() (end func()) {
	s.calls++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.calls--; s.calls == 0 && s.idle != nil {
			close(s.idle)
			s.idle = nil
		}
	}
}

// acquire calls how, with a context that ends also with the session, and returns the error as
// the other library would.
func acquire[T any](ctx context.Context, s *Session, how func(context.Context) (T, error)) (got T, err error) {
	if ctx.Err() != nil {
		return got, ctx.Err()
	}
	s.mu.Lock()
	if s.ctx.Err() != nil { // nobody waits for what begins now
		s.mu.Unlock()
		return got, ErrSessionExpired
	}
	end := s.called()
	s.mu.Unlock()
	defer end()
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(s.ctx, func() { cancel(lease.ErrClosed) })
	defer stop()
	got, err = how(within)
	if err != nil && ctx.Err() == nil && within.Err() != nil && errors.Is(err, within.Err()) {
		return got, ErrSessionExpired
	}
	return got, plain(ctx, err)
}

// abandon ends a session and leaves its lease to the server.
func abandon(ctx context.Context, s *lease.Session) {
	ctx, cancel := context.WithCancel(ctx)
	cancel()           // what goes on in the background goes on
	_ = s.Abandon(ctx) // which is all that it can say
}

// abandoned reports whether the session has ended because it was orphaned, or because of its
// context: what it has put is there until the lease expires.
func (s *Session) abandoned() bool {
	if !errors.Is(s.lease.Err(), lease.ErrClosed) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed && (s.orphaned || s.opts.ctx.Err() != nil)
}

// Client returns the client that the session was made with.
func (s *Session) Client() *clientv3.Client { return s.client }

// Lease returns the ID of the lease that all keys of the session are attached to.
func (s *Session) Lease() clientv3.LeaseID { return s.lease.ID() }

// Ctx returns a context that is done when the lease is lost, closed or orphaned, before
// anybody else can have what it protects. Its cause says why. For a process that was stopped
// it may not be done yet when that goes on; that of another call is.
func (s *Session) Ctx() context.Context {
	s.look()
	return s.ctx
}

// Done returns a channel that is closed when the lease is lost, closed or orphaned, before
// anybody else can have what it protects. For a process that was stopped it may not be
// closed yet when that goes on; that of another call is.
func (s *Session) Done() <-chan struct{} {
	s.look()
	return s.done
}

// look waits until the end of the session is told if its deadline has passed: nobody may
// have got round to that.
func (s *Session) look() {
	if s.lease.Err() != nil {
		<-s.done
	}
}

// Conclave returns the underlying session, for packages lock and election. It ends with
// this one.
func (s *Session) Conclave() *lease.Session { return s.inner }

// Orphan ends the session and leaves the lease to the server: it is not renewed any more,
// and the keys that are attached stay until it expires; but those who still wait leave the
// queue before. For this process whatever was held through the session is over;
// [Mutex.Unlock] and [Election.Resign] still delete what it has put, also if another process
// has taken that up.
func (s *Session) Orphan() {
	s.mu.Lock()
	s.orphaned = true
	s.mu.Unlock()
	s.cancel(lease.ErrClosed)
	<-s.over
}

// Close ends the session and revokes the lease, which deletes all keys that are attached:
// also after [Session.Orphan], and if another process has adopted it.
// It waits for that for a TTL at the most, after which the lease has expired anyway. If the
// context of [WithContext] has ended, the lease is left to expire, and Close returns that
// context's error.
func (s *Session) Close() error {
	if err := s.opts.ctx.Err(); err != nil {
		<-s.done
		return err
	}
	ctx, cancel := context.WithTimeout(s.opts.ctx, s.lease.TTL())
	defer cancel()
	err := s.inner.Close(ctx)
	// The lease may have been left, before or meanwhile.
	s.mu.Lock()
	orphaned := s.orphaned && !s.closed
	s.mu.Unlock()
	switch over := s.opts.ctx.Err(); {
	case err != nil:
	case over != nil:
		err = over
	case orphaned:
		err = s.revoke(ctx)
	}
	if err == nil {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
	}
	s.cancel(lease.ErrClosed)
	<-s.done
	return plain(ctx, err)
}

// revoke revokes the lease of a session that has left it.
func (s *Session) revoke(ctx context.Context) error {
	_, err := beside(ctx, request{s.client, "concurrency: revoking a lease"}, func(ctx context.Context) (*clientv3.LeaseRevokeResponse, error) {
		return s.client.Revoke(ctx, s.Lease())
	})
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}

// SessionOption configures [NewSession].
type SessionOption func(*sessionOptions, *zap.Logger)

type sessionOptions struct {
	ttl     int
	leaseID clientv3.LeaseID
	ctx     context.Context
	strict  bool
	inner   []lease.Option
}

// WithTTL sets how many seconds after its last renewal the server keeps the lease: 60 by
// default. Zero or less is ignored, which is logged; more than etcd's
// [clientv3.MaxLeaseTTL] is an error of [NewSession]. See the package comment for more than
// 300.
func WithTTL(ttl int) SessionOption {
	return func(o *sessionOptions, log *zap.Logger) {
		if ttl <= 0 {
			log.Warn("concurrency: TTL must be positive; the one before is kept", zap.Int("ttl", ttl), zap.Int("kept", o.ttl))
			return
		}
		o.ttl = ttl
	}
}

// WithLease makes the session adopt an existing lease: that of an earlier process, to take
// up a lock or a term again, see [ResumeElection]. The TTL is that of the lease.
func WithLease(leaseID clientv3.LeaseID) SessionOption {
	return func(o *sessionOptions, _ *zap.Logger) { o.leaseID = leaseID }
}

// WithContext sets the context of the session, instead of the client's: when it ends,
// NewSession and Close return, the session is over, and the lease is left to expire.
func WithContext(ctx context.Context) SessionOption {
	return func(o *sessionOptions, _ *zap.Logger) { o.ctx = ctx }
}

// WithStrict makes goroutines that share the session exclude each other, as if each had its
// own: a second Lock of a mutex that the session holds waits for the Unlock, and a second
// Campaign is another candidate. By default the session, and not the goroutine, holds and
// leads. The other library has no such option.
func WithStrict() SessionOption {
	return func(o *sessionOptions, _ *zap.Logger) { o.strict = true }
}

// WithOptions adds options of Conclave's own session, such as lease.WithLogger and
// lease.WithObserver. The other library has no such option.
func WithOptions(opts ...lease.Option) SessionOption {
	return func(o *sessionOptions, _ *zap.Logger) { o.inner = append(o.inner, opts...) }
}

// plain returns err as the other library would, where programs compare with ==: a
// context's own error, and that a session is over.
func plain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return ctx.Err()
	case errors.Is(err, lease.ErrLost), errors.Is(err, lease.ErrClosed):
		return ErrSessionExpired
	}
	return fmt.Errorf("concurrency: %w", err)
}
