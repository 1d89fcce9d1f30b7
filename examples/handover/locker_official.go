package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// errSessionDone stands in for a reason, which clientv3/concurrency does not give.
var errSessionDone = errors.New("session done")

// officialLocker is clientv3/concurrency, used as its documentation shows, with a
// new session once one has ended.
type officialLocker struct {
	client  *clientv3.Client
	job     job
	waiting func(key string)
	session *concurrency.Session
}

func newOfficialLocker(client *clientv3.Client, j job, waiting func(key string)) (*officialLocker, error) {
	o := &officialLocker{client: client, job: j, waiting: waiting}
	return o, o.renew()
}

// renew replaces the session. It is not given a context: what is then canceled is
// the session, and closing it would not revoke its lease.
func (o *officialLocker) renew() (err error) {
	o.session, err = concurrency.NewSession(o.client, concurrency.WithTTL(int(o.job.TTL/time.Second)))
	return err
}

func (o *officialLocker) ttl() time.Duration { return o.job.TTL }

func (o *officialLocker) lock(ctx context.Context) (holding, error) {
	select {
	case <-o.session.Done():
		if err := o.renew(); err != nil {
			return nil, err
		}
	default:
	}
	mutex := concurrency.NewMutex(o.session, o.job.Name)
	// What Mutex.Key will say; it may not be asked during Lock.
	o.waiting(fmt.Sprintf("%s/%x", o.job.Name, o.session.Lease()))
	err := mutex.Lock(ctx)
	switch {
	case errors.Is(err, concurrency.ErrSessionExpired):
		return o.lock(ctx)
	case errors.Is(err, rpctypes.ErrLeaseNotFound): // it has expired, and the session does not know yet
		if err := o.renew(); err != nil {
			return nil, err
		}
		return o.lock(ctx)
	case err != nil:
		return nil, err
	}
	return officialHolding{mutex: mutex, session: o.session}, nil
}

func (o *officialLocker) close(context.Context) error {
	if err := o.session.Close(); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return err
	}
	return nil
}

// officialHolding is a locked concurrency.Mutex.
type officialHolding struct {
	mutex   *concurrency.Mutex
	session *concurrency.Session
}

func (h officialHolding) key() string { return h.mutex.Key() }

// token is unknown: the revision that would do is private to the mutex. The parent
// finds it in the queue.
func (h officialHolding) token() string { return "" }

func (h officialHolding) left() time.Duration              { return 0 }
func (h officialHolding) guard() []clientv3.Cmp            { return []clientv3.Cmp{h.mutex.IsOwner()} }
func (h officialHolding) done() <-chan struct{}            { return h.session.Done() }
func (h officialHolding) cause() error                     { return errSessionDone }
func (h officialHolding) unlock(ctx context.Context) error { return h.mutex.Unlock(ctx) }
