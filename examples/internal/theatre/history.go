package theatre

import (
	"context"
	"errors"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lock"
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

// CheckTokens fails if one of the writes has a lower token than one before, or if there are none.
func CheckTokens(writes []*clientv3.Event, token func(value []byte) (lock.Token, error)) error {
	if len(writes) == 0 {
		return errors.New("nothing was ever written")
	}
	var highest lock.Fence
	for _, e := range writes {
		if e.Type == clientv3.EventTypeDelete {
			continue
		}
		t, err := token(e.Kv.Value)
		if err == nil {
			err = highest.Check(t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ParseToken reads a value that is nothing but a token.
func ParseToken(value []byte) (lock.Token, error) { return lock.ParseToken(string(value)) }

// CheckHistory is [CheckTokens] of all that was ever written under a prefix.
func (s *Stage) CheckHistory(ctx context.Context, prefix string, token func(value []byte) (lock.Token, error)) {
	all := s.History(ctx, prefix)
	s.Do(func() error { return CheckTokens(all, token) })
}
