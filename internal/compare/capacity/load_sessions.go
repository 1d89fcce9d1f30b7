package capacity

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// sessions are sessions of processes, some of which share a client here.
func sessions(largest int) load {
	return load{
		name: sessionLoad, largest: largest,
		begin: func(ctx context.Context, r *rig) (crowd, error) {
			clients, err := r.connected(ctx, (largest+perClient-1)/perClient)
			return crowd{add: func(ctx context.Context, i int) error {
				_, err := r.session(ctx, clients[i%len(clients)])
				return err
			}}, err
		},
	}
}

// processes are sessions with a client each, as processes have.
func processes(largest int) load {
	return load{
		name: processLoad, largest: largest,
		begin: func(_ context.Context, r *rig) (crowd, error) {
			return crowd{add: func(ctx context.Context, _ int) error {
				_, err := r.ownSession(ctx)
				return err
			}}, nil
		},
	}
}

// connected returns clients that have made their connections.
func (r *rig) connected(ctx context.Context, n int) ([]*clientv3.Client, error) {
	all := make([]*clientv3.Client, n)
	_, err := each(ctx, 0, n, func(ctx context.Context, i int) (err error) {
		if all[i], err = r.client(); err != nil {
			return err
		}
		_, err = all[i].Get(ctx, "x")
		return err
	})
	return all, err
}
