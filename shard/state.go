package shard

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/watch"
)

// record is what a key of a group says. What it is about is in the key.
type record struct {
	text   []byte       // of the plan, of the number of shards, and of operators' wishes
	member memberRecord // of a member
	entry  entryRecord  // of an acquisition of a shard's lock
}

// entryRecord is what package lock stores with an acquisition.
type entryRecord struct {
	Owner string    `json:"owner"`
	Since time.Time `json:"since"`
}

// decoder returns the decode function of a cache of the whole group.
func (k keys) decoder() func(key string, value []byte) (record, error) {
	return func(key string, value []byte) (r record, err error) {
		switch what, _, _ := k.parse(key); what {
		case kindMember:
			err = json.Unmarshal(value, &r.member)
		case kindLock:
			err = json.Unmarshal(value, &r.entry)
		case kindOther:
		default:
			r.text = slices.Clone(value)
		}
		return r, err
	}
}

// acquisition is an entry in the queue of a shard's lock.
type acquisition struct {
	entryRecord

	key     string
	created int64
}

func (a acquisition) token() lock.Token { return lock.Token(a.created << sequenceBits) }

// sequenceBits are those of a token below the revision, see [lock.Token].
const sequenceBits = 20

// text is what a key of the plan has, since a revision.
type text struct {
	revision int64
	text     []byte
}

// state is a group at one revision.
type state struct {
	revision int64
	shards   int // 0 if the group does not exist
	members  map[string]watch.Item[record]
	heirs    map[string]bool // names that processes wait for
	frozen   bool
	cordons  map[string]bool // whether the member is to be emptied, too
	pins     map[ID]string
	plan     *planned             // nil if there is none
	planErr  error                // why there is none
	slots    map[string]text      // the plan's keys
	queues   map[ID][]acquisition // the owner first
}

// stateOf reads the state from a cache of the whole group.
func stateOf(k keys, s watch.Snapshot[record]) *state {
	st := &state{
		revision: s.Revision(), members: map[string]watch.Item[record]{}, heirs: map[string]bool{}, cordons: map[string]bool{},
		pins: map[ID]string{}, slots: map[string]text{}, queues: map[ID][]acquisition{},
	}
	for key, item := range s.Prefix(k.all()) {
		st.add(k, key, item)
	}
	for _, q := range st.queues {
		slices.SortFunc(q, func(a, b acquisition) int { return cmp.Compare(a.created, b.created) })
	}
	st.plan, st.planErr = readPlan(k, func(key string) ([]byte, int64) {
		item, _ := s.Get(key)
		return item.Value.text, item.ModRevision
	})
	if st.planErr != nil {
		st.plan = nil
	}
	return st
}

func (st *state) add(k keys, key string, item watch.Item[record]) {
	value := string(item.Value.text)
	switch what, name, id := k.parse(key); what {
	case kindShards:
		st.shards, _ = shardsIn(value) // checkGroup says that it is wrong
	case kindMember:
		st.members[name] = item
	case kindHeir:
		st.heirs[name] = true
	case kindHead, kindPiece:
		st.slots[key] = text{item.ModRevision, item.Value.text}
	case kindFreeze:
		st.frozen = true
	case kindCordon:
		st.cordons[name] = value == evacuated
	case kindPin:
		st.pins[id] = value
	case kindLock:
		st.queues[id] = append(st.queues[id], acquisition{item.Value.entry, key, item.CreateRevision})
	case kindOther:
	}
}

// owner returns who owns a shard, as its lock says.
func (st *state) owner(id ID) (acquisition, bool) {
	if q := st.queues[id]; len(q) > 0 {
		return q[0], true
	}
	return acquisition{}, false
}

// infos returns the members, by name. Who is to be emptied keeps its shards if there is
// nobody else.
func (st *state) infos() []MemberInfo {
	var all []MemberInfo
	others := false
	for name, item := range st.members {
		r := item.Value.member
		m := MemberInfo{Name: name, Weight: min(max(r.Weight, 0), MaxWeight), Zone: r.Zone, Value: r.Value}
		switch empty, cordoned := st.cordons[name]; {
		case r.Draining || empty:
			m.State = Leaving
		case cordoned:
			m.State = Cordoned
		}
		others = others || m.State != Leaving
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b MemberInfo) int { return cmp.Compare(a.Name, b.Name) })
	for i, m := range all {
		if !others && !st.members[m.Name].Value.member.Draining {
			all[i].State = Cordoned
		}
	}
	return all
}

// checkGroup says if there is no such group, or it is not what it should be.
func (st *state) checkGroup(group string) error {
	if err := checkShards(st.shards); err != nil {
		return fmt.Errorf("shard: there is no group %q: nobody has joined it", group)
	}
	return nil
}

// sortedNames returns the names that a map has, without "".
func sortedNames(m map[string]int) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(m)), func(name string) bool { return name == "" })
}
