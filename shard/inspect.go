package shard

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/watch"
)

// Status is a group at one revision, as [Inspect] found it.
type Status struct {
	// Group is its name, Revision the store's.
	Group    string
	Revision int64
	// Planner is the name of the member that plans, "" if there is none.
	Planner string
	// Version counts the plans; Made is when the last one was made, by its planner's clock,
	// and Term the planner's term. They are zero if there is no plan. PlanError says why,
	// if the plan cannot be read.
	Version   int64
	Made      time.Time
	Term      lock.Token
	PlanError error
	// Frozen says whether [Freeze] is in effect.
	Frozen bool
	// Members are the current members, and those that are gone but still in the plan, by
	// name.
	Members []MemberStatus
	// Shards has every shard.
	Shards []OwnerStatus
}

// MemberStatus is a member of a group.
type MemberStatus struct {
	MemberInfo

	// Joined is when it did, by its own clock.
	Joined time.Time
	// Lease is that of its key.
	Lease clientv3.LeaseID
	// Planned is how many shards the plan gives to it, Owned how many it owns.
	Planned, Owned int
	// Stuck are shards that it has lost, or had to give up, though its function has not
	// returned, in order: at most 1,000. Until it has, the plan gives them to others.
	Stuck []ID
}

// OwnerStatus is a shard of a group.
type OwnerStatus struct {
	// Shard is its number.
	Shard ID
	// Owner is the name of its owner, "" if there is none; Token is the ownership's token,
	// and Since when the owner began to ask for it, by its own clock.
	Owner string
	Token lock.Token
	Since time.Time
	// Planned is the name of the member that the plan gives it to.
	Planned string
	// Pinned is the name of the member that an operator has given it to.
	Pinned string
	// Waiting has the names of those that wait for it, in order.
	Waiting []string
}

// Moving reports whether the shard is with a member other than the plan says.
func (s OwnerStatus) Moving() bool { return s.Owner != "" && s.Owner != s.Planned }

// Inspect returns the state of a group, all at one revision; only the planner's name is
// read after that.
func Inspect(ctx context.Context, client *clientv3.Client, group string) (Status, error) {
	if err := checkClient(ctx, client); err != nil {
		return Status{}, err
	}
	k := keys{group}
	cache, err := watch.NewCache(ctx, client, k.all(), k.decoder())
	if err != nil {
		return Status{}, fmt.Errorf("shard: inspecting %q: %w", group, err)
	}
	defer func() { _ = cache.Close(ctx) }() // nobody uses it any more
	st := stateOf(k, cache.Snapshot())
	if err := st.checkGroup(group); err != nil {
		return Status{}, err
	}
	leader, err := election.Current(ctx, client, group)
	if err != nil {
		return Status{}, fmt.Errorf("shard: inspecting %q: %w", group, err)
	}
	return st.status(group, leader.Owner), nil
}

// status returns the state for people.
func (st *state) status(group, planner string) Status {
	s := Status{Group: group, Revision: st.revision, Planner: planner, PlanError: st.planErr, Frozen: st.frozen}
	planned, owned := map[string]int{}, map[string]int{}
	for id := range ID(st.shards) {
		one := st.ownerStatus(id)
		planned[one.Planned]++
		owned[one.Owner]++
		s.Shards = append(s.Shards, one)
	}
	if st.plan != nil {
		s.Version, s.Made, s.Term = st.plan.Version, st.plan.Made, st.plan.Term
	}
	for _, m := range st.infos() {
		item := st.members[m.Name]
		s.Members = append(s.Members, MemberStatus{
			MemberInfo: m, Joined: item.Value.member.Joined, Lease: item.Lease, Planned: planned[m.Name], Owned: owned[m.Name],
			Stuck: item.Value.member.Stuck,
		})
	}
	for _, name := range sortedNames(planned) {
		if _, here := st.members[name]; !here {
			m := MemberInfo{Name: name, State: Absent}
			s.Members = append(s.Members, MemberStatus{MemberInfo: m, Planned: planned[name], Owned: owned[name]})
		}
	}
	return s
}

func (st *state) ownerStatus(id ID) OwnerStatus {
	one := OwnerStatus{Shard: id, Pinned: st.pins[id]}
	if st.plan != nil && int(id) < len(st.plan.owners) {
		one.Planned = st.plan.owners[id]
	}
	for i, a := range st.queues[id] {
		if i == 0 {
			one.Owner, one.Token, one.Since = a.Owner, a.token(), a.Since
		} else {
			one.Waiting = append(one.Waiting, a.Owner)
		}
	}
	return one
}
