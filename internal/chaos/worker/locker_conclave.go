package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// The kinds of locks on etcd that are this library's.
const (
	KindMutex    = "mutex"
	KindRWMutex  = "rwmutex"
	KindElection = "election"
)

// holder is what a hold and a term have in common.
type holder interface {
	Context() context.Context
	Token() lock.Token
	Key() string
	Err() error
	Remaining() time.Duration
	Guard() []clientv3.Cmp
}

// conclave is a lock of this library on etcd.
type conclave struct {
	session *lease.Session
	take    func(ctx context.Context) (holder, func(context.Context) error, error)
}

// NewConclave returns a lock of a kind. A delay above zero is a mutex's lock delay; the
// options are those of its session.
func NewConclave(
	ctx context.Context, client *clientv3.Client, kind, name, owner string, ttl, delay time.Duration, of ...lease.Option,
) (Locker, error) {
	s, err := lease.NewSession(ctx, client, append(of, lease.WithTTL(ttl))...)
	if err != nil {
		return nil, err
	}
	c := &conclave{session: s}
	switch kind {
	case KindMutex:
		opts := []lock.Option{lock.WithOwner(owner)}
		if delay > 0 {
			opts = append(opts, lock.WithLockDelay(delay))
		}
		m, err := lock.NewMutex(s, name, opts...)
		if err != nil {
			return nil, err
		}
		c.take = holds(m.Lock)
	case KindRWMutex:
		m, err := lock.NewRWMutex(s, name, lock.WithOwner(owner))
		if err != nil {
			return nil, err
		}
		c.take = holds(m.Lock)
	case KindElection:
		e, err := election.New(s, name, election.WithOwner(owner))
		if err != nil {
			return nil, err
		}
		c.take = func(ctx context.Context) (holder, func(context.Context) error, error) {
			t, err := e.Campaign(ctx, owner)
			if err != nil {
				return nil, nil, err
			}
			return t, t.Resign, nil
		}
	default:
		return nil, fmt.Errorf("worker: no lock of kind %q", kind)
	}
	return c, nil
}

func holds(take func(context.Context) (*lock.Hold, error)) func(context.Context) (holder, func(context.Context) error, error) {
	return func(ctx context.Context) (holder, func(context.Context) error, error) {
		h, err := take(ctx)
		if err != nil {
			return nil, nil, err
		}
		return h, h.Unlock, nil
	}
}

// Lock takes the lock.
func (c *conclave) Lock(ctx context.Context) (Hold, error) {
	h, unlock, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	return conclaveHold{h, unlock}, nil
}

// Close closes the session.
func (c *conclave) Close(ctx context.Context) error { return c.session.Close(ctx) }

type conclaveHold struct {
	holder

	unlock func(context.Context) error
}

func (h conclaveHold) Token() int64                     { return int64(h.holder.Token()) }
func (h conclaveHold) Done() <-chan struct{}            { return h.Context().Done() }
func (h conclaveHold) Remaining() (time.Duration, bool) { return h.holder.Remaining(), true }
func (h conclaveHold) Phantom() bool                    { return false }
func (h conclaveHold) Unlock(ctx context.Context) error { return h.unlock(ctx) }

// guarded is a hold with conditions that are true only while it has the lock.
type guarded interface{ Guard() []clientv3.Cmp }

// etcdRegister is a key whose value is "hold token value found".
type etcdRegister struct {
	client   *clientv3.Client
	key      string
	patience time.Duration
}

// NewRegister returns the register in a key of etcd. What takes longer than patience is
// sent again beside it, to the next member.
func NewRegister(client *clientv3.Client, key string, patience time.Duration) Register {
	return &etcdRegister{client, key, patience}
}

// NewPlainRegister is NewRegister without the hold's guard: nothing but the lock protects
// it.
func NewPlainRegister(client *clientv3.Client, key string, patience time.Duration) Register {
	return plainRegister{&etcdRegister{client, key, patience}}
}

type plainRegister struct{ *etcdRegister }

// Put replaces whatever is there.
func (r plainRegister) Put(ctx context.Context, h Hold, id string, value, found int64) (bool, error) {
	stamp := Stamp{Hold: id, Token: h.Token(), Value: value, Found: found}.String()
	_, err := r.client.Put(clientv3.WithRequireLeader(ctx), r.key, stamp)
	return err == nil, err
}

// Get reads the number.
func (r *etcdRegister) Get(ctx context.Context) (int64, error) {
	resp, _, err := beside(clientv3.WithRequireLeader(ctx), r.patience, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return r.client.Get(ctx, r.key)
	})
	if err != nil || len(resp.Kvs) == 0 {
		return 0, err
	}
	s, err := ParseStamp(string(resp.Kvs[0].Value))
	return s.Value, err
}

// errSeveral is why it is not known whether a transaction that was sent several times came
// through: one of the others may have.
var errSeveral = errors.New("worker: refused, after others without an answer")

// Put is one transaction with the hold's guard. It is not [lock.Hold.Txn], which
// refuses by itself once the hold has ended: here etcd has to. At most one of several
// attempts comes through, since each needs the register as it was found.
func (r *etcdRegister) Put(ctx context.Context, h Hold, id string, value, found int64) (bool, error) {
	g, ok := h.(guarded)
	if !ok {
		return false, fmt.Errorf("worker: %T has no guard", h)
	}
	unchanged := clientv3.Compare(clientv3.CreateRevision(r.key), "=", 0)
	if found != 0 {
		// The end of the value tells which write it is.
		unchanged = clientv3.Compare(clientv3.Version(r.key), "=", found)
	}
	stamp := Stamp{Hold: id, Token: h.Token(), Value: value, Found: found}.String()
	resp, attempts, err := beside(clientv3.WithRequireLeader(ctx), r.patience, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return r.client.Txn(ctx).
			If(append(g.Guard(), unchanged)...).
			Then(clientv3.OpPut(r.key, stamp)).
			Commit()
	})
	switch {
	case err != nil:
		return false, err
	case !resp.Succeeded && attempts > 1:
		return false, errSeveral
	default:
		return resp.Succeeded, nil
	}
}

// Stamp is what a register in etcd says.
type Stamp struct {
	Hold                string
	Token, Value, Found int64
}

// String writes what [ParseStamp] reads.
func (s Stamp) String() string { return fmt.Sprintf("%s %d %d %d", s.Hold, s.Token, s.Value, s.Found) }

// ParseStamp reads a register's value.
func ParseStamp(text string) (s Stamp, err error) {
	words := strings.Fields(text)
	if len(words) != 4 {
		return s, fmt.Errorf("worker: %q is not what a register says", text)
	}
	s.Hold = words[0]
	for i, p := range []*int64{&s.Token, &s.Value, &s.Found} {
		if *p, err = strconv.ParseInt(words[i+1], 10, 64); err != nil {
			return s, fmt.Errorf("worker: register: %w", err)
		}
	}
	return s, nil
}
