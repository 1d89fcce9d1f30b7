package capacity

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// interval is two samples between which a load was left alone.
type interval struct{ before, after sample }

// rest leaves everything alone for some rounds.
func (r *rig) rest(ctx context.Context) (interval, error) {
	if err := r.compact(ctx); err != nil {
		return interval{}, err
	}
	if err := pause(ctx, r.cfg.Settle); err != nil {
		return interval{}, err
	}
	before, err := r.take(ctx)
	if err != nil {
		return interval{}, err
	}
	const perTTL = 3
	if err := pause(ctx, r.cfg.TTL/perTTL*time.Duration(r.cfg.Rounds)); err != nil {
		return interval{}, err
	}
	spent := ownCPU() // what take spends is not theirs
	after, err := r.take(ctx)
	after.ownCPU = spent
	return interval{before, after}, err
}

// compact removes the history, so that the size of the store is that of what is there.
func (r *rig) compact(ctx context.Context) error {
	resp, err := r.etcd.Client().Get(ctx, "x", clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	_, err = r.etcd.Client().Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical())
	if errors.Is(err, rpctypes.ErrCompacted) { // nothing was written since
		return nil
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
