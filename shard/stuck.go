package shard

import (
	"cmp"
	"context"
	"maps"
	"slices"
)

// mostStuck is how many stuck shards a member's key names. The others have to wait.
const mostStuck = 1000

// stuck returns the shards that have ended though their function runs. mu must be held.
func (m *Member) stuck() (all []ID) {
	for id, c := range m.claims {
		if c.state == ended {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all[:min(len(all), mostStuck)]
}

// report has tellNews look for something to tell.
func (m *Member) report() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// tellNews tells the planner, by the member's key, of shards that are stuck or no longer so,
// until the member's end.
func (m *Member) tellNews() {
	for {
		select {
		case <-m.news:
		case <-m.life.Done():
			return
		}
		if err := m.publish(m.life); err != nil && m.life.Err() == nil {
			m.log.Warn("shard: the planner was not told which shards have lost their owner; trying again", "error", err)
		}
	}
}

// publish puts into the member's key what others are to know. If it fails, or ctx ends first,
// it is put as soon as it can be.
func (m *Member) publish(ctx context.Context) error {
	select {
	case m.telling <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-m.telling }()
	if m.replaced() { // the key is another's
		return nil
	}
	m.mu.Lock()
	entry := m.entry
	entry.Draining, entry.Stuck = !m.draining.IsZero(), m.stuck()
	m.mu.Unlock()
	return m.reg.Update(ctx, entry.encode())
}

// stuck returns in whom shards are stuck, by name.
func (st *state) stuck(shards int) map[ID][]string {
	all := make(map[ID][]string)
	for name, item := range st.members {
		for _, id := range item.Value.member.Stuck {
			if int(id) < shards {
				all[id] = append(all[id], name)
				slices.Sort(all[id])
			}
		}
	}
	return all
}

// asked is what the assigner is asked: a stuck shard counts as still with the member in which
// it is stuck, so that this one gets no other in return for it.
func (r round) asked() Input {
	in := r.in
	in.Members, in.Owners, in.Pinned = slices.Clone(in.Members), slices.Clone(in.Owners), maps.Clone(in.Pinned)
	for id, names := range r.stuck {
		if !slices.Contains(names, in.Owners[id]) {
			in.Owners[id] = names[0]
		}
	}
	return in
}

// unstick gives stuck shards to members that can have them, if there are any: the last to
// have taken it, or else the one that has least for its weight.
func (r round) unstick(target []string) {
	if len(r.stuck) == 0 {
		return
	}
	load := make(map[string]int)
	for _, name := range target {
		load[name]++
	}
	for _, id := range slices.Sorted(maps.Keys(r.stuck)) {
		fit := takers(r.in.Members, r.stuck[id])
		can := func(name string) bool {
			return slices.ContainsFunc(fit, func(m MemberInfo) bool { return m.Name == name })
		}
		_, pinned := r.in.Pinned[id]
		switch {
		case len(fit) == 0 || target[id] == "" || pinned && can(target[id]):
		case can(r.in.Owners[id]): // which serves it: the deal of the others may change each time
			target[id] = r.in.Owners[id]
		case can(target[id]):
		default:
			target[id] = lightest(fit, load)
			load[target[id]]++
		}
	}
}

// takers returns who can have a shard that is stuck in some.
func takers(all []MemberInfo, in []string) (fit []MemberInfo) {
	for _, m := range all {
		if (m.State == Active || m.State == Cordoned) && !slices.Contains(in, m.Name) {
			fit = append(fit, m)
		}
	}
	return fit
}

// lightest returns the member that has least for its weight: a cordoned one only if there is
// no other.
func lightest(fit []MemberInfo, load map[string]int) string {
	per := func(a, b MemberInfo) int64 { return int64(load[a.Name]) * int64(b.Weight) }
	return slices.MinFunc(fit, func(a, b MemberInfo) int {
		return cmp.Or(cmp.Compare(a.State, b.State), cmp.Compare(per(a, b), per(b, a)),
			cmp.Compare(b.Weight, a.Weight), cmp.Compare(load[a.Name], load[b.Name]), cmp.Compare(a.Name, b.Name))
	}).Name
}
