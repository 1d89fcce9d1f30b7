package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// reconfigureTimeout bounds an attempt to change the membership, or to write, which hangs
// where it meets an election.
const reconfigureTimeout = 2 * time.Second

// Replace removes member i, with its data, and puts a new one in its place, at other
// addresses. It takes a majority without i, and returns when the new member serves.
func (e *Etcd) Replace(ctx context.Context, i int) error {
	m := e.list[i]
	if err := e.drop(ctx, m); err != nil {
		return err
	}
	if m.peers != nil {
		return errors.New("servers: members behind proxies are not replaced")
	}
	m.leave()
	if err := m.settle(); err != nil {
		return err
	}
	if err := e.add(ctx, m, e.client.MemberAdd); err != nil {
		return err
	}
	e.client.SetEndpoints(e.Endpoints()...)
	return nil
}

// Join adds the learner that [WithLearner] has room for, and returns when it serves.
func (e *Etcd) Join(ctx context.Context) error {
	return e.add(ctx, e.spare, e.client.MemberAddAsLearner)
}

// Promote gives the learner a vote, as soon as it has caught up.
func (e *Etcd) Promote(ctx context.Context) error {
	err := insist(ctx, func(ctx context.Context) error {
		_, err := e.client.MemberPromote(ctx, e.spare.id)
		return err
	})
	if err != nil {
		return fmt.Errorf("promoting %s: %w", e.spare.job.Name, err)
	}
	return nil
}

// Leave removes the learner, whether it has been promoted or not.
func (e *Etcd) Leave(ctx context.Context) error { return e.drop(ctx, e.spare) }

// drop removes a member for good: its next life is another member.
func (e *Etcd) drop(ctx context.Context, m *member) error {
	err := insist(ctx, func(ctx context.Context) error {
		list, err := e.client.MemberList(ctx)
		if err != nil {
			return err
		}
		for _, other := range list.Members {
			if other.ID == m.id {
				_, err = e.client.MemberRemove(ctx, m.id)
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("removing %s: %w", m.job.Name, err)
	}
	_ = m.kill() // that one that is no member any more has ended by itself is no error
	return os.RemoveAll(m.job.Dir)
}

// add adds a new member in m's place, a voter or a learner as register has it, and starts
// it. An earlier attempt may have come through after all.
func (e *Etcd) add(ctx context.Context, m *member, register func(context.Context, []string) (*clientv3.MemberAddResponse, error)) error {
	url := "http://" + m.job.Peer
	var all []*pb.Member
	err := insist(ctx, func(ctx context.Context) error {
		list, err := e.client.MemberList(ctx)
		if err != nil {
			return err
		}
		all = list.Members
		for _, other := range all {
			if other.PeerURLs[0] == url {
				return nil
			}
		}
		resp, err := register(ctx, []string{url})
		if err == nil {
			all = resp.Members
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("adding %s: %w", m.job.Name, err)
	}
	m.lives++
	m.job.Dir = filepath.Join(filepath.Dir(m.job.Dir), fmt.Sprintf("%s-%d", m.job.Name, m.lives))
	m.job.Joins, m.job.Cluster = true, clusterOf(all, url, m.job.Name)
	return m.join(ctx)
}

// unheard is what etcd says when a new member asks another who the members are, and that one has not heard
// yet of the new one.
const unheard = "error validating peerURLs"

// join starts a member that joins a cluster until all there know of it, and returns when it serves.
func (m *member) join(ctx context.Context) error {
	for {
		if err := m.start(); err != nil {
			return err
		}
		err := m.await(ctx)
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), unheard) {
			return err
		}
		_ = m.kill() // it has ended
	}
}

// clusterOf is the cluster as etcd's configuration has it: the new member has no name yet.
func clusterOf(all []*pb.Member, url, name string) string {
	var parts []string
	for _, m := range all {
		if m.PeerURLs[0] == url {
			m.Name = name
		}
		parts = append(parts, m.Name+"="+m.PeerURLs[0])
	}
	return strings.Join(parts, ",")
}

// insist tries until it works, or ctx ends.
func insist(ctx context.Context, try func(ctx context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, reconfigureTimeout)
		err := try(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(leaderPoll):
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// Upgrade restarts member i, on its data, as the version of etcd that binary is; "" is
// the one in this program. It returns when the member serves.
func (e *Etcd) Upgrade(ctx context.Context, i int, binary string) error {
	if err := e.Kill(i); err != nil {
		return err
	}
	e.list[i].job.Binary = binary
	return e.Restart(ctx, i)
}

// Full raises the alarm of a member whose quota is used up: until Empty the cluster takes
// neither puts nor leases.
func (e *Etcd) Full(ctx context.Context) error { return e.alarm(ctx, pb.AlarmRequest_ACTIVATE) }

// Empty ends what Full did, as an operator does once there is room.
func (e *Etcd) Empty(ctx context.Context) error { return e.alarm(ctx, pb.AlarmRequest_DEACTIVATE) }

func (e *Etcd) alarm(ctx context.Context, action pb.AlarmRequest_AlarmAction) error {
	_, err := pb.NewMaintenanceClient(e.client.ActiveConnection()).Alarm(ctx, &pb.AlarmRequest{
		Action: action, Alarm: pb.AlarmType_NOSPACE, MemberID: e.list[0].id,
	})
	return err
}

// Churn writes one key n times, or more often where an answer is lost.
func (e *Etcd) Churn(ctx context.Context, n int) error {
	for i := range n {
		err := insist(ctx, func(ctx context.Context) error {
			_, err := e.client.Put(ctx, "churn", strconv.Itoa(i))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Fill writes n values of half a megabyte and deletes them again, so that there is
// something for [Etcd.Defragment] to do.
func (e *Etcd) Fill(ctx context.Context, n int) error {
	const prefix = "ballast/"
	value := strings.Repeat("x", 512<<10)
	for i := range n {
		if _, err := e.client.Put(ctx, fmt.Sprintf("%s%d", prefix, i), value); err != nil {
			return err
		}
	}
	if _, err := e.client.Delete(ctx, prefix, clientv3.WithPrefix()); err != nil {
		return err
	}
	return e.Compact(ctx)
}

// Defragment has all members rewrite their stores, one after another. A member answers
// nobody meanwhile.
func (e *Etcd) Defragment(ctx context.Context) error {
	var errs []error
	for _, m := range e.list {
		if m.running() != nil {
			_, err := e.client.Defragment(ctx, m.job.Client)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
