package worker

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	official "go.etcd.io/etcd/client/v3/concurrency"

	"github.com/conclave-go/conclave/concurrency"
	"github.com/conclave-go/conclave/internal/queue"
)

// clientv3/concurrency, which are controls, and the package that has its names.
const (
	KindStockMutex          = "stock mutex"
	KindStockElection       = "stock election"
	KindConcurrencyMutex    = "concurrency mutex"
	KindConcurrencyElection = "concurrency election"
)

// stock is clientv3/concurrency, or what takes its place, used as its documentation shows,
// with a new session once one has ended.
type stock struct {
	client   *clientv3.Client
	name     string
	owner    string
	ttl      time.Duration
	elects   bool
	patience time.Duration
	open     func(client *clientv3.Client, seconds int) (stockSession, error)
	told     bool // its sessions promise to be over before their keys are gone
	session  stockSession
}

// stockSession is a session of either library.
type stockSession interface {
	Done() <-chan struct{}
	Close() error
	// mutex and election return what is locked, and won.
	mutex(name string) stockMutex
	election(name string) stockElection
}

type stockMutex interface {
	Lock(ctx context.Context) error
	Unlock(ctx context.Context) error
	Key() string
}

type stockElection interface {
	Campaign(ctx context.Context, val string) error
	Resign(ctx context.Context) error
	Key() string
}

type officialSession struct{ *official.Session }

func openOfficial(client *clientv3.Client, seconds int) (stockSession, error) {
	s, err := official.NewSession(client, official.WithTTL(seconds))
	return officialSession{s}, err
}

func (s officialSession) mutex(name string) stockMutex { return official.NewMutex(s.Session, name) }

func (s officialSession) election(name string) stockElection {
	return official.NewElection(s.Session, name)
}

type concurrencySession struct{ *concurrency.Session }

func openConcurrency(client *clientv3.Client, seconds int) (stockSession, error) {
	s, err := concurrency.NewSession(client, concurrency.WithTTL(seconds))
	return concurrencySession{s}, err
}

func (s concurrencySession) mutex(name string) stockMutex {
	return concurrency.NewMutex(s.Session, name)
}

func (s concurrencySession) election(name string) stockElection {
	return concurrency.NewElection(s.Session, name)
}

// NewStock returns a mutex or an election of clientv3/concurrency, or of what takes its
// place.
func NewStock(client *clientv3.Client, kind, name, owner string, ttl, patience time.Duration) (Locker, error) {
	s := &stock{client: client, name: name, owner: owner, ttl: ttl, patience: patience, open: openOfficial}
	s.elects = kind == KindStockElection || kind == KindConcurrencyElection
	if kind == KindConcurrencyMutex || kind == KindConcurrencyElection {
		s.open, s.told = openConcurrency, true
	}
	return s, s.renew()
}

// renew replaces the session, unless it fails. It is not given a context: what is then
// canceled is the session, and closing it would not revoke its lease.
func (s *stock) renew() error {
	session, err := s.open(s.client, int(s.ttl/time.Second))
	if err == nil {
		s.session = session
	}
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
		e := s.session.election(s.name)
		if err := e.Campaign(ctx, s.owner); err != nil {
			return nil, err
		}
		h.key, h.unlock = e.Key(), e.Resign
	} else {
		m := s.session.mutex(s.name)
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
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), s.patience)
	defer cancel()
	resp, _, err := beside(ctx, s.patience/registerPart, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return s.client.Get(ctx, h.key)
	})
	if err != nil {
		return
	}
	switch {
	case len(resp.Kvs) > 0:
		h.revision = resp.Kvs[0].CreateRevision
	case s.told && h.Err() != nil: // it has gone with the session since, of which the holder is told in time
	default:
		h.phantom = true
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
	session  stockSession
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
