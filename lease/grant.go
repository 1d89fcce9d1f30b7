package lease

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/clock"
	"github.com/conclave-go/conclave/internal/look"
)

// grantTimeout bounds one attempt to grant a lease: long enough for a leader
// election, short enough to try another member.
const grantTimeout = 3 * time.Second

// Grant asks for one lease and keeps it alive until it is closed or lost. It is
// not self-healing; most callers want [NewSession]. ctx bounds the grant alone,
// which is tried until then. When Grant fails, a lease that was granted all the
// same has no key attached, is not kept alive, and expires by itself.
func Grant(ctx context.Context, client *clientv3.Client, opts ...Option) (*Lease, error) {
	cfg, err := newConfig(client, opts)
	if err != nil {
		return nil, err
	}
	return grant(ctx, client, cfg)
}

func grant(ctx context.Context, client *clientv3.Client, cfg config) (*Lease, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("lease: grant: %w", attempt.Ended(ctx, nil))
	}
	//nolint:forbidigo // not a deadline: clientv3 would try a closed connection for seconds
	if client.Ctx().Err() != nil {
		return nil, fmt.Errorf("lease: grant: %w: %w", ErrClosed, errClientClosed)
	}
	var l *Lease
	err := attempt.Do(ctx, min(grantTimeout, cfg.ttl), func(ctx context.Context) error {
		start, wall := clock.Now(), time.Now()
		resp, err := client.Grant(ctx, int64(cfg.ttl/time.Second))
		if err != nil {
			return err
		}
		l = newLease(client, cfg, resp.ID, time.Duration(resp.TTL)*time.Second, start, wall)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lease: grant: %w", err)
	}
	return l, nil
}

// newLease starts to keep a lease whose grant was sent at start.
func newLease(client *clientv3.Client, cfg config, id clientv3.LeaseID, ttl time.Duration, start clock.Instant, wall time.Time) *Lease {
	ttl = min(ttl, MaxTTL) // an adopted one may have more
	//nolint:forbidigo // a lease's life is bounded by its deadline, not by the context of its grant
	ctx, cancel := context.WithCancelCause(context.Background())
	l := &Lease{client: client, id: id, ttl: ttl, cfg: cfg, ctx: ctx, cancel: cancel, look: look.New(ctx), done: make(chan struct{})}
	l.mu.Lock() // the timer may fire before it is assigned
	l.until, l.wall, l.confirmed = start.Add(l.valid(ttl)), wall.Add(l.valid(ttl)), start
	l.note(change{to: Healthy, first: true})
	l.timer = clock.AfterFunc(l.until, l.expire)
	l.mu.Unlock()
	l.tell()
	go l.keep() // ends when the lease has ended and been revoked, at most one TTL later
	return l
}
