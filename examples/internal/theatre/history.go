package theatre

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lock"
)

// Leader returns the token of the leader of an election, as etcd has it.
func Leader(name string) func(context.Context, *clientv3.Client) (lock.Token, error) {
	return func(ctx context.Context, client *clientv3.Client) (lock.Token, error) {
		leader, err := election.Current(ctx, client, name)
		return leader.Token, err
	}
}

// Holder returns the token of the holder of a lock, as etcd has it.
func Holder(name string) func(context.Context, *clientv3.Client) (lock.Token, error) {
	return func(ctx context.Context, client *clientv3.Client) (lock.Token, error) {
		entries, err := lock.Inspect(ctx, client, name)
		if len(entries) == 0 {
			return 0, err
		}
		return entries[0].Token, err
	}
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

// Request makes a request of a copy, and returns the status and the text of the answer.
func Request(ctx context.Context, method, url string, body io.Reader) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(answer)), err
}

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
