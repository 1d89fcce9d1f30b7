package shard

import (
	"fmt"
	"slices"
)

// round is what the planner knows when it makes a plan.
type round struct {
	in Input
	// held says of each shard who owns it, as its lock says; "" is nobody.
	held []string
	// moves is how many shards may be on their way from one member to another.
	moves int
	// stuck says in which members' functions shards are stuck, see [MemberStatus].
	stuck map[ID][]string
	// late are those that have been on their way for too long: they keep no others from moving.
	late map[ID]bool
	// frozen is set if no shard is to leave a member that can keep it.
	frozen bool
}

// outcome is the next plan, and what an operator may want to know of it.
type outcome struct {
	owners []string
	// moves is how many shards leave a living member by it, and placed how many others
	// have a new owner.
	moves, placed int
	// underWay is how many are on their way to another by the last plan, and pending how many
	// more the assigner wants to move.
	underWay, pending int
	// unowned is how many nobody owns.
	unowned int
	// err says why the assigner was not heeded.
	err error
}

// next makes the next plan: the assigner's, with what is pinned, and with no more moves at
// once than allowed. An assigner that fails, panics or returns nonsense is not heeded: all
// members keep what they have, and what nobody has is spread evenly.
func (r round) next(by Assigner) outcome {
	target, err := r.ask(by)
	if err != nil {
		r.frozen = true
		target, _ = Balanced().Assign(r.asked()) // it does not fail
	}
	for id, name := range r.in.Pinned {
		if m := r.member(name); m != nil && m.State != Absent && m.State != Leaving && int(id) < r.in.Shards {
			target.Owners[id] = name
		}
	}
	r.unstick(target.Owners)
	out := r.advance(target.Owners)
	out.err = err
	return out
}

// ask asks the assigner, which may change its input, and its plan later on.
func (r round) ask(by Assigner) (Plan, error) {
	p, err := assign(by, r.asked())
	if err != nil {
		return Plan{}, err
	}
	p.Owners = slices.Clone(p.Owners)
	return p, r.check(p)
}

// check refuses a plan that cannot be meant.
func (r round) check(p Plan) error {
	if len(p.Owners) != r.in.Shards {
		return fmt.Errorf("plan of %d shards: must be of all %d", len(p.Owners), r.in.Shards)
	}
	for id, name := range p.Owners {
		if name == "" {
			continue
		}
		switch m := r.member(name); {
		case m == nil:
			return fmt.Errorf("plan gives shard %d to %q: must be a member", id, name)
		case m.State == Leaving, m.State == Absent && r.in.Owners[id] != name:
			return fmt.Errorf("plan gives shard %d to %q, which is %v: must be a member that can have it", id, name, m.State)
		}
	}
	return nil
}

// member returns a member by its name, nil if there is none.
func (r round) member(name string) *MemberInfo {
	i, ok := slices.BinarySearchFunc(r.in.Members, name, func(m MemberInfo, name string) int {
		if m.Name < name {
			return -1
		} else if m.Name > name {
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return &r.in.Members[i]
}

// advance takes as many steps towards the target as may be under way at a time. Those
// come first that an operator wants or that are stuck, then those from members that leave.
func (r round) advance(target []string) outcome {
	out := outcome{owners: slices.Clone(r.in.Owners)}
	var urgent, others []int
	for id, owner := range r.held {
		out.count(r, id, owner)
		if target[id] == out.owners[id] {
			continue
		}
		_, pinned := r.in.Pinned[ID(id)]
		_, stuck := r.stuck[ID(id)]
		from := r.member(out.owners[id])
		switch {
		case from == nil:
			out.owners[id] = target[id]
			out.placed++
		case pinned || stuck || from.State == Leaving:
			urgent = append(urgent, id)
		case !r.frozen:
			others = append(others, id)
		}
	}
	budget := r.moves - out.underWay + len(r.late)
	for _, id := range append(urgent, others...) {
		switch {
		case !r.busy(id): // nobody's work is interrupted by it
		case budget > 0:
			budget--
		default:
			out.pending++
			continue
		}
		out.owners[id] = target[id]
		out.moves++
	}
	return out
}

// busy reports whether a shard is with the member that the last plan gave it to: to give
// it to another interrupts that one's work.
func (r round) busy(id int) bool { return r.held[id] != "" && r.held[id] == r.in.Owners[id] }

// count notes who has a shard now.
func (o *outcome) count(r round, id int, owner string) {
	switch {
	case owner == "":
		o.unowned++
	case r.underWay(id):
		o.underWay++
	}
}

// underWay reports whether a shard is on its way from one member to another, both of which are
// there.
func (r round) underWay(id int) bool {
	if r.held[id] == r.in.Owners[id] || r.member(r.held[id]) == nil {
		return false
	}
	to := r.member(r.in.Owners[id])
	return to != nil && to.State != Absent
}
