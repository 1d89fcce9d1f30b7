package worker

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/internal/queue"
)

// The controls on etcd.
const (
	KindStockMutex    = "stock mutex"
	KindStockElection = "stock election"
)

// stock is clientv3/concurrency, used as its documentation shows, with a new session
// once one has ended.
type stock struct {
	client   *clientv3.Client
	name     string
	owner    string
	ttl      time.Duration
	elects   bool
	patience time.Duration
	session  *concurrency.Session
}

// NewStock returns a mutex or an election of clientv3/concurrency.
func NewStock(client *clientv3.Client, kind, name, owner string, ttl, patience time.Duration) (Locker, error) {
	s := &stock{client: client, name: name, owner: owner, ttl: ttl, elects: kind == KindStockElection, patience: patience}
	return s, s.renew()
}

// renew replaces the session. It is not given a context: what is then canceled is the
// session, and closing it would not revoke its lease.
func (s *stock) renew() (err error) {
	s.session, err = concurrency.NewSession(s.client, concurrency.WithTTL(int(s.ttl/time.Second)))
	return err
}

// Lock takes the lock, or is elected.
func (s *stock) Lock(ctx context.Context) (Hold, error) {
	if isClosed(s.session.Done()) {
		if err := s.renew(); err != nil {
			return nil, err
		}
	}
	h := &stockHold{session: s.session}
	if s.elects {
		e := concurrency.NewElection(s.session, s.name)
		if err := e.Campaign(ctx, s.owner); err != nil {
			return nil, err
		}
		h.key, h.unlock = e.Key(), e.Resign
	} else {
		m := concurrency.NewMutex(s.session, s.name)
		if err := m.Lock(ctx); err != nil {
			return nil, err
		}
		h.key, h.unlock = m.Key(), m.Unlock
	}
	s.look(ctx, h)
	return h, nil
}

// look finds the entry that the hold should have, whose revision is private to the
// library after a contended lock.
func (s *stock) look(ctx context.Context, h *stockHold) {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	resp, err := s.client.Get(ctx, h.key)
	if err != nil {
		return
	}
	if h.phantom = len(resp.Kvs) == 0; !h.phantom {
		h.revision = resp.Kvs[0].CreateRevision
	}
}

// Close revokes the session's lease.
func (s *stock) Close(context.Context) error {
	err := s.session.Close()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

type stockHold struct {
	session  *concurrency.Session
	key      string
	revision int64
	phantom  bool
	unlock   func(context.Context) error
}

func (h *stockHold) Token() int64                     { return h.revision << queue.SequenceBits }
func (h *stockHold) Key() string                      { return h.key }
func (h *stockHold) Done() <-chan struct{}            { return h.session.Done() }
func (h *stockHold) Remaining() (time.Duration, bool) { return 0, false }
func (h *stockHold) Phantom() bool                    { return h.phantom }
func (h *stockHold) Unlock(ctx context.Context) error { return h.unlock(ctx) }

func (h *stockHold) Err() error {
	if isClosed(h.session.Done()) {
		return errOver
	}
	return nil
}

func (h *stockHold) Guard() []clientv3.Cmp {
	return []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(h.key), "=", h.revision)}
}
