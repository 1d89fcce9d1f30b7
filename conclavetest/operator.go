package conclavetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/lease"
)

// Compact compacts the history up to the current revision: watches that begin before it
// fail, as do reads of the past.
func (c *Cluster) Compact(tb testing.TB) {
	tb.Helper()
	c.do(tb, "compacting", c.server.Compact)
}

// FillUp raises the alarm of a member whose database is as large as it may be: from then on
// the cluster refuses every write that could make it larger, including those of locks and
// new leases, until [Cluster.MakeRoom]. Reads, deletions and renewals go on.
func (c *Cluster) FillUp(tb testing.TB) {
	tb.Helper()
	c.do(tb, "raising the alarm", func(ctx context.Context) error {
		return c.alarm(ctx, pb.AlarmRequest_ACTIVATE)
	})
}

// MakeRoom clears the alarm of [Cluster.FillUp].
func (c *Cluster) MakeRoom(tb testing.TB) {
	tb.Helper()
	c.do(tb, "clearing the alarm", func(ctx context.Context) error {
		return c.alarm(ctx, pb.AlarmRequest_DEACTIVATE)
	})
}

// alarm changes the alarm of the member that answers first; one is enough.
func (c *Cluster) alarm(ctx context.Context, action pb.AlarmRequest_AlarmAction) error {
	members, err := c.operator.MemberList(ctx)
	if err != nil {
		return err
	}
	return etcdtest.Retry(ctx, func(ctx context.Context) error {
		_, err := pb.NewMaintenanceClient(c.operator.ActiveConnection()).Alarm(ctx, &pb.AlarmRequest{
			Action: action, Alarm: pb.AlarmType_NOSPACE, MemberID: members.Members[0].ID,
		})
		return err
	})
}

// DeleteKey deletes a key, as an operator does who wants a lock to be free or a
// registration to be gone. The key must exist: that of a lock.Hold, a lock.Entry, an
// election.Term or a registration, for example.
//
// Whoever relies on the key finds out at the next look of its lease, at most a third of a
// TTL later; the next in the queue is granted at once. So for a moment there are two
// holders: operators overrule locks, and only tokens and guards protect from them.
func (c *Cluster) DeleteKey(tb testing.TB, key string) {
	tb.Helper()
	c.do(tb, fmt.Sprintf("deleting key %q", key), func(ctx context.Context) error {
		resp, err := c.operator.Delete(ctx, key)
		if err == nil && resp.Deleted == 0 {
			return errors.New("there is no such key")
		}
		return err
	})
}

// ExpireLease revokes the lease that a key is attached to: all keys of its session go at
// once, as when the lease had expired on the server, and waiters are granted. It is for
// sessions in code that the test cannot reach; [Cluster.AwaitHolder] finds the key.
//
// The session finds out with its next renewal, at most a third of a TTL later; its holds may
// have found their keys gone just before, and are lost without being [lease.ErrLost]. To make
// it find out first, as in a partition, use [Network.Cut] and let the TTL pass.
func (c *Cluster) ExpireLease(tb testing.TB, key string) {
	tb.Helper()
	c.do(tb, fmt.Sprintf("expiring the lease of key %q", key), func(ctx context.Context) error {
		resp, err := c.operator.Get(ctx, key)
		switch {
		case err != nil:
			return err
		case len(resp.Kvs) == 0:
			return errors.New("there is no such key")
		case resp.Kvs[0].Lease == 0:
			return errors.New("it is not attached to a lease")
		}
		_, err = c.operator.Revoke(ctx, clientv3.LeaseID(resp.Kvs[0].Lease))
		return err
	})
}

// ExpireSession revokes the leases of a session and returns when the session knows: its
// holds and terms have then ended with their ErrLost. The session itself goes on as it
// would after any loss: it has a new lease, unless it does not heal, see
// [lease.WithoutHealing], and has ended.
//
// A session that is cut off cannot know before its deadline; that fails the test.
func (c *Cluster) ExpireSession(tb testing.TB, s *lease.Session) {
	tb.Helper()
	c.do(tb, "expiring a session", func(ctx context.Context) error {
		resp, err := c.operator.Leases(ctx)
		if err != nil {
			return err
		}
		old := make(map[clientv3.LeaseID]bool, len(resp.Leases))
		for _, l := range resp.Leases {
			old[l.ID] = true
		}
		for first := true; ; first = false {
			l, err := s.Lease(ctx)
			switch {
			case !first && errors.Is(err, lease.ErrLost): // for good
				return nil
			case err != nil || (!first && !old[l.ID()]):
				return err
			}
			if err := c.expire(ctx, l); err != nil {
				return err
			}
		}
	})
}

// expire revokes a lease and returns when it has ended for its client, too.
func (c *Cluster) expire(ctx context.Context, l *lease.Lease) error {
	if _, err := c.operator.Revoke(ctx, l.ID()); err != nil {
		return err
	}
	inside.Keys(l).Hurry()
	select {
	case <-l.Context().Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the session does not notice: %w", ctx.Err())
	}
}
