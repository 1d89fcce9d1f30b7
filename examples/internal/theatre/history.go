package theatre

import (
	"context"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// History returns all that has happened to the keys under a prefix, in order, since etcd was
// started.
func (s *Stage) History(ctx context.Context, prefix string) (all []*clientv3.Event) {
	s.Do(func() error {
		ctx, cancel := context.WithTimeout(ctx, s.Patience)
		defer cancel()
		now, err := s.Client.Get(ctx, prefix, clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		// Each revision has changed some key, also the latest.
		for resp := range s.Client.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(1)) {
			for _, e := range resp.Events {
				if strings.HasPrefix(string(e.Kv.Key), prefix) && e.Kv.ModRevision <= now.Header.Revision {
					all = append(all, e)
				}
			}
			if n := len(resp.Events); n > 0 && resp.Events[n-1].Kv.ModRevision >= now.Header.Revision {
				return nil
			}
			if err := resp.Err(); err != nil {
				return err
			}
		}
		return context.Cause(ctx)
	})
	return all
}
