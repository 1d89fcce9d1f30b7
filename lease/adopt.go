package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/clock"
	"github.com/conclave-go/conclave/internal/look"
)

// Adopt returns a session on an existing lease: one that an earlier process of the program
// has left, see [Session.Abandon], or that something else has granted. It keeps the lease
// alive and does not heal, as with [WithoutHealing]; Close revokes it with all attached
// keys, whoever has put them. [WithTTL] has no effect: the TTL is that of the lease, taken
// for [MaxTTL] if it is longer. The deadline of such a lease cannot be trusted where the
// server makes lease checkpoints, which is off by default: after a change of leader it may
// expire before.
//
// Adopt renews the lease and confirms that before it returns, so its deadline can be
// trusted like that of any other. It knows nothing about the time before: what an earlier
// owner was promised ends at that owner's deadline. If somebody else keeps the lease alive
// or revokes it, the session notices as it would on its own.
//
// ctx bounds only the adoption. It fails with [ErrLost] if the lease does not exist.
func Adopt(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID, opts ...Option) (*Session, error) {
	if id == clientv3.NoLease {
		return nil, errors.New("lease: adopting lease 0: must be the ID of an existing lease")
	}
	return NewSession(ctx, client, append(slices.Clone(opts), WithoutHealing(), adopting(id))...)
}

// adopting makes a session start with the lease given.
func adopting(id clientv3.LeaseID) Option {
	return option(func(c *config) error {
		c.adopted = id
		return nil
	})
}

// WithoutHealing makes a session end with its lease: once that is lost, every use of the
// session fails with [ErrLost]. It has one lease however many keys it carries, so all of
// them go together.
func WithoutHealing() Option {
	return option(func(c *config) error {
		c.final = true
		return nil
	})
}

// Abandon ends the session as Close does, but leaves its leases to the server: they are no
// longer renewed, and the attached keys stay until they expire. What is held through the
// session ends locally with [ErrClosed]. Use it to pass a lease on to a process that calls
// [Adopt].
//
// First let all calls return that still wait for a lock or to be elected. Their entries,
// too, stay in their queues, and whoever adopts the lease keeps them alive without knowing
// of them: they would come to the front, and stay there.
func (s *Session) Abandon(ctx context.Context) error {
	s.abandoned.Store(true)
	return s.Close(ctx)
}

// last returns the only lease of a session that does not heal, nil if it has had none or
// heals.
func (s *Session) last() *Lease {
	if !s.cfg.final {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leases) == 0 {
		return nil
	}
	return s.leases[0]
}

// obtain starts to keep a lease: the one to adopt, or a new one.
func (c config) obtain(ctx context.Context, client *clientv3.Client) (*Lease, error) {
	if c.adopted != clientv3.NoLease {
		return adopt(ctx, client, c)
	}
	return grant(ctx, client, c)
}

// left reports whether the lease is not to be revoked.
func (l *Lease) left() bool { return l.cfg.session != nil && l.cfg.session.abandoned.Load() }

// adopt starts to keep the lease that cfg says.
func adopt(ctx context.Context, client *clientv3.Client, cfg config) (*Lease, error) {
	limits := attempt.Limits{Patience: grantPatience, Caller: cfg.caller, What: "lease: adoption"}
	l, err := attempt.Hedge(ctx, limits, func(ctx context.Context) (granted, error) {
		return renewOnce(ctx, client, cfg)
	})
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return nil, fmt.Errorf("lease: adopting %x: %w: %w", int64(cfg.adopted), ErrLost, err)
	case err != nil:
		return nil, fmt.Errorf("lease: adopting %x: %w", int64(cfg.adopted), err)
	}
	return newLease(client, cfg, l), nil
}

// renewOnce renews a lease that is to be adopted, and has that confirmed.
func renewOnce(ctx context.Context, client *clientv3.Client, cfg config) (granted, error) {
	id := cfg.adopted
	awaitConnection(ctx, client)
	sent := now()
	acked, err := keepAlive(ctx, client, id)
	if err != nil {
		return granted{}, err
	}
	// As in a round: a leader that was deposed may have answered.
	term, err := look.New(ctx).Begin(client, id).Step(ctx)
	ttl := time.Duration(acked.TTL) * time.Second
	switch {
	case err != nil:
		return granted{}, err
	case term > acked.Header.RaftTerm:
		return granted{}, rpctypes.ErrLeaderChanged
	case ttl <= 0:
		return granted{}, rpctypes.ErrLeaseNotFound
	case clock.Now().Sub(sent.start) > cfg.useful(ttl):
		return granted{}, errOld
	}
	return granted{id, ttl, sent}, nil
}

// keepAlive renews a lease once. That of clientv3 is repeated without an end, and without
// a pause.
func keepAlive(ctx context.Context, client *clientv3.Client, id clientv3.LeaseID) (*pb.LeaseKeepAliveResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	calls, err := clientv3.RetryLeaseClient(client).LeaseKeepAlive(ctx)
	if err != nil {
		return nil, rpctypes.Error(err)
	}
	_ = calls.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)}) // what goes wrong is told by Recv, and better
	acked, err := calls.Recv()
	return acked, rpctypes.Error(err)
}
