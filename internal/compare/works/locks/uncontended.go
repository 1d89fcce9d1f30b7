package locks

import (
	"context"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/lock"
)

// timed returns a round of n visits, each of which is measured.
func timed(n int, c contender) round {
	return func(ctx context.Context) (perf.Samples, error) {
		took := make([]float64, n)
		for i := range took {
			began := time.Now()
			if err := c.visit(ctx); err != nil {
				return nil, err
			}
			took[i] = micros(time.Since(began))
		}
		return perf.Samples{latency().Name: took}, nil
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// uncontended is locking and unlocking what nobody else wants.
func uncontended() (all []perf.Work) {
	for _, w := range []struct {
		on                    perf.Servers
		visits, rounds, quick int
	}{
		{perf.EtcdFast, 100, 30, 3}, {perf.EtcdDurable, 25, 20, 0}, {perf.EtcdCluster, 25, 20, 0},
	} {
		name := "lock/uncontended"
		all = append(all, perf.Work{
			Name: name, Title: "Lock and Unlock of a free lock", On: w.on,
			Metrics: []perf.Metric{latency()}, Rounds: w.rounds, Quick: w.quick,
			Begin: begin(func(ctx context.Context, s *stage) ([]perf.Side, error) { return s.alone(ctx, name, w.visits) }),
		})
	}
	return all
}

// alone returns the sides of an uncontended lock.
func (s *stage) alone(ctx context.Context, name string, visits int) ([]perf.Side, error) {
	ours, err := s.ours(ctx, name+"/conclave")
	if err != nil {
		return nil, err
	}
	theirs, err := s.theirs(ctx, name+"/official")
	if err != nil {
		return nil, err
	}
	switched, err := s.switched(ctx, name+"/switched")
	if err != nil {
		return nil, err
	}
	client, err := s.Client(ctx)
	if err != nil {
		return nil, err
	}
	guarded, err := s.guarded(ctx, name+"/guarded/")
	if err != nil {
		return nil, err
	}
	return []perf.Side{
		{Name: conclave, Round: timed(visits, ours)},
		{Name: official, Lacks: unguarded, Round: timed(visits, theirs)},
		{Name: oneLine, Round: timed(visits, switched)},
		{Name: "raw put, delete", Lacks: excludesNone, Round: timed(visits, bare(client, name+"/bare"))},
		{Name: "raw guarded", Lacks: "waits for nobody and tells of no loss", Round: timed(visits, guarded)},
	}, nil
}

// bare puts a key and deletes it.
func bare(client *clientv3.Client, key string) contender {
	return func(ctx context.Context) (release, error) {
		_, err := client.Put(ctx, key, "")
		return func(ctx context.Context) error {
			_, err := client.Delete(ctx, key)
			return err
		}, err
	}
}

// record is as long as what an entry of ours says of itself.
const record = `{"nonce":"0123456789abcdef","owner":"host:12345","since":"2026-01-01T00:00:00.000000000Z"}`

// guarded is a contender that sends the two transactions that a lock like ours cannot do without.
func (s *stage) guarded(ctx context.Context, prefix string) (contender, error) {
	all, err := s.guardedNames(ctx, prefix)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// guardedNames returns such contenders, of one client and lease.
func (s *stage) guardedNames(ctx context.Context, prefixes ...string) (all []contender, err error) {
	client, err := s.Client(ctx)
	if err != nil {
		return nil, err
	}
	granted, err := client.Grant(ctx, int64(time.Hour/time.Second))
	if err != nil {
		return nil, err
	}
	s.atEnd(func(ctx context.Context) error {
		_, err := client.Revoke(ctx, granted.ID)
		return err
	})
	for _, prefix := range prefixes {
		all = append(all, guardedBy(client, granted.ID, prefix))
	}
	return all, nil
}

// guardedBy sends two transactions: one puts an entry under a lease if it is not there and
// reads who else is in the queue, the other deletes it if it is the one that was put.
func guardedBy(client *clientv3.Client, id clientv3.LeaseID, prefix string) contender {
	key := fmt.Sprintf("%s%x", prefix, int64(id))
	put := []clientv3.Op{
		clientv3.OpPut(key, record, clientv3.WithLease(id)),
		clientv3.OpGet(prefix, append(clientv3.WithLastCreate(), clientv3.WithPrefix(), clientv3.WithLimit(2), clientv3.WithKeysOnly())...),
	}
	absent, get := clientv3.Compare(clientv3.CreateRevision(key), "=", 0), clientv3.OpGet(key)
	return func(ctx context.Context) (release, error) {
		resp, err := client.Txn(ctx).If(absent).Then(put...).Else(get).Commit()
		if err != nil {
			return nil, err
		}
		if !resp.Succeeded {
			return nil, fmt.Errorf("raw: %s is there already", key)
		}
		same := clientv3.Compare(clientv3.CreateRevision(key), "=", resp.Header.Revision)
		return func(ctx context.Context) error {
			resp, err := client.Txn(ctx).If(same).Then(clientv3.OpDelete(key)).Commit()
			if err == nil && !resp.Succeeded {
				return fmt.Errorf("raw: %s is not what was put", key)
			}
			return err
		}, nil
	}
}

// multi is locking and unlocking eight free names.
func multi() perf.Work {
	const name = "lock/multi"
	return perf.Work{
		Name: name, Title: "Lock and Unlock of eight free names together", On: perf.EtcdFast,
		Metrics: []perf.Metric{latency()}, Rounds: 20,
		Begin: begin(func(ctx context.Context, s *stage) ([]perf.Side, error) {
			names := func(side string) (all []string) {
				for i := range 8 {
					all = append(all, fmt.Sprintf("%s/%s/%d", name, side, i))
				}
				return all
			}
			return s.together(ctx, names)
		}),
	}
}

// together returns the sides of an uncontended lock of many names.
func (s *stage) together(ctx context.Context, names func(side string) []string) ([]perf.Side, error) {
	const visits = 30
	session, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	m, err := lock.NewMulti(session, names("conclave"))
	if err != nil {
		return nil, err
	}
	theirs, err := s.official(ctx)
	if err != nil {
		return nil, err
	}
	var locks []contender
	for _, name := range names("official") {
		locks = append(locks, mutexOf(theirs, name))
	}
	client, err := s.Client(ctx)
	if err != nil {
		return nil, err
	}
	return []perf.Side{
		{Name: conclave, Round: timed(visits, holder(m.Lock))},
		{Name: official, Lacks: unguarded + "; callers who take names in different orders deadlock", Round: timed(visits, oneByOne(locks))},
		{Name: raw, Lacks: excludesNone, Round: timed(visits, bareTogether(client, names("bare")))},
	}, nil
}

// oneByOne takes locks one after the other and releases them in the reverse order.
func oneByOne(locks []contender) contender {
	return func(ctx context.Context) (release, error) {
		var leaves []release
		for _, take := range locks {
			leave, err := take(ctx)
			if err != nil {
				return nil, err
			}
			leaves = append(leaves, leave)
		}
		return func(ctx context.Context) error {
			for _, leave := range slices.Backward(leaves) {
				if err := leave(ctx); err != nil {
					return err
				}
			}
			return nil
		}, nil
	}
}

// bareTogether puts keys in one transaction and deletes them in another.
func bareTogether(client *clientv3.Client, keys []string) contender {
	var puts, deletes []clientv3.Op
	for _, key := range keys {
		puts, deletes = append(puts, clientv3.OpPut(key, "")), append(deletes, clientv3.OpDelete(key))
	}
	commit := func(ctx context.Context, ops []clientv3.Op) error {
		_, err := client.Txn(ctx).Then(ops...).Commit()
		return err
	}
	return func(ctx context.Context) (release, error) {
		return func(ctx context.Context) error { return commit(ctx, deletes) }, commit(ctx, puts)
	}
}
