package queue

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/inside"
)

// markLease is what the marks of the grants under one lease of a session are attached
// to. Its TTL is longer by the delay, and it is renewed in step with that lease. So if
// that ends because nobody renews it, the marks go the delay later.
//
// Nobody revokes it: a mark may be on it. It expires by itself.
type markLease struct {
	id    clientv3.LeaseID
	ttl   time.Duration
	entry *entry // for whom it was granted, with the session and the lease
	// lost is closed once it does not exist any more.
	lost chan struct{}
	once sync.Once

	mu      sync.Mutex
	expires time.Time // not before; by the last renewal that was answered
}

// markMargin is what the TTL has more than the lease's own and the delay: etcd looks for
// expired leases twice a second, and the delay must not be cut short by that.
const markMargin = time.Second

// markLeaseKey finds a session's mark leases among what its users share.
type markLeaseKey struct {
	lease  clientv3.LeaseID
	length time.Duration
}

// markLeases is where the lease for one key is granted and kept.
type markLeases struct {
	turn chan struct{} // whoever has put something in may grant
	live atomic.Pointer[markLease]
}

// markable sees to it that there is a lease for the entry's mark, if the queue's grants
// leave any. The first entry under a lease costs a grant.
func (e *entry) markable(ctx context.Context) error {
	if !e.q.Delay.marks() {
		return nil
	}
	key := markLeaseKey{e.lease.ID(), e.q.Delay.length}
	found, ok := inside.Of(e.q.Session).Shared().Load(key)
	if !ok {
		found, _ = inside.Of(e.q.Session).Shared().LoadOrStore(key, &markLeases{turn: make(chan struct{}, 1)})
	}
	leases, _ := found.(*markLeases)
	if e.marks = leases.live.Load(); e.marks.lives() {
		return nil
	}
	select {
	case leases.turn <- struct{}{}:
		defer func() { <-leases.turn }()
	case <-ctx.Done():
		return attempt.Ended(ctx, nil)
	}
	if e.marks = leases.live.Load(); e.marks.lives() {
		return nil
	}
	m, err := e.grantMarkLease(ctx)
	if err != nil {
		return err
	}
	e.marks = m
	leases.live.Store(m)
	started := e.keys.Go(func(ctx context.Context) { m.keep(ctx); inside.Of(e.q.Session).Shared().CompareAndDelete(key, found) })
	if !started {
		return e.lease.Err()
	}
	return nil
}

func (e *entry) grantMarkLease(ctx context.Context) (*markLease, error) {
	return request(ctx, e, func(ctx context.Context) (*markLease, error) {
		began := time.Now()
		granted, err := e.q.Session.Client().Grant(ctx, seconds(e.lease.TTL()+e.q.Delay.length+markMargin))
		if err != nil {
			return nil, err
		}
		ttl := time.Duration(granted.TTL) * time.Second
		return &markLease{lost: make(chan struct{}), entry: e, id: granted.ID, ttl: ttl, expires: began.Add(ttl)}, nil
	})
}

// seconds returns d as a TTL, rounded up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// lives reports whether there is a lease, as far as is known.
func (m *markLease) lives() bool {
	if m == nil {
		return false
	}
	select {
	case <-m.lost:
		return false
	default:
		return true
	}
}

// keep renews the lease whenever that of the entries is, until that ends.
func (m *markLease) keep(ctx context.Context) {
	renewing, stop := m.entry.keys.Renewals()
	defer stop()
	for {
		select {
		case <-renewing:
			m.renew(ctx)
		case <-m.lost:
			return
		case <-ctx.Done():
			return
		}
	}
}

// renew renews the lease once, and finds out if it does not exist any more.
func (m *markLease) renew(ctx context.Context) {
	began := time.Now()
	err := m.entry.limits().Once(ctx, func(ctx context.Context) error {
		_, err := m.entry.q.Session.Client().KeepAliveOnce(ctx, m.id)
		return err
	})
	switch {
	case err == nil:
		m.mu.Lock()
		defer m.mu.Unlock()
		m.expires = began.Add(m.ttl)
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		m.once.Do(func() {
			m.entry.log().Warn("queue: lease of the lock delay was revoked; what is held now has no delay", "lease", m.id)
			close(m.lost)
		})
	}
}

// expiry returns the time before which the lease does not expire.
func (m *markLease) expiry() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.expires
}

// countDown lets the mark of an owner that was lost, in a process that lives and knows,
// go after the delay, in the background: its lease would keep it for longer, or go on
// being renewed for others.
func (e *entry) countDown() {
	if !e.q.Delay.marks() || !e.claimed {
		return
	}
	length := e.q.Delay.length
	latest := e.marks.expiry().Add(-length - markMargin)
	if !time.Now().Before(latest) {
		return
	}
	inside.Of(e.q.Session).Go(func(ctx context.Context) {
		ctx, cancel := context.WithDeadline(ctx, latest)
		defer cancel()
		err := attempt.Do(ctx, rpcTimeout(e.lease), func(ctx context.Context) error { return e.moveMark(ctx, length) })
		if err != nil && ctx.Err() == nil {
			e.log().Warn("queue: lock delay is not counted from the loss but from the end of the session's lease", "error", err)
		}
	})
}

// moveMark attaches the entry's mark, if it is there, to a new lease that nobody renews.
func (e *entry) moveMark(ctx context.Context, length time.Duration) error {
	client, key, own := e.q.Session.Client(), e.q.Delay.markers[0], e.ownMark()
	granted, err := client.Grant(ctx, seconds(length))
	if err != nil {
		return err
	}
	resp, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.Value(key), "=", own)).
		Then(clientv3.OpPut(key, own, clientv3.WithLease(granted.ID))).
		Commit()
	if err == nil && !resp.Succeeded {
		_, err = client.Revoke(ctx, granted.ID)
	}
	return err
}
