package shard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/conclave-go/conclave/lock"
)

// pieceSize is how much of a plan goes into one key. A write of 64 KiB does not keep
// renewals waiting, and stays far below etcd's limit of 1.5 MiB.
const pieceSize = 64 << 10

// head is what makes pieces a plan: readers take no piece that it does not name.
type head struct {
	// Version counts the group's plans.
	Version int64 `json:"version"`
	// Shards is how many shards the plan is for.
	Shards int `json:"shards"`
	// Slot is where its pieces are; the plan before is in the other.
	Slot int `json:"slot"`
	// Pieces are the revisions at which the pieces were put, 0 being the head's own.
	Pieces []int64 `json:"pieces"`
	// Size is that of the pieces together.
	Size int `json:"size"`
	// Planner made the plan, in the term of the token, at a time by its clock.
	Planner string     `json:"planner"`
	Term    lock.Token `json:"term"`
	Made    time.Time  `json:"made"`
}

// body is what the pieces contain together, as JSON.
type body struct {
	// Members are those the plan was made for, and those that are gone and still have shards by
	// it.
	Members []planMember `json:"members"`
	// Owners has for each shard the index of its owner in Members, -1 for nobody.
	Owners []int `json:"owners"`
}

// planMember is a member as the plan has it.
type planMember struct {
	Name string `json:"name"`
	// Nonce is that of its key: a process with another nonce is not meant.
	Nonce string `json:"nonce"`
	// Leaving is set if it drains, or was last seen to: nothing is kept for it.
	Leaving bool `json:"leaving,omitempty"`
}

// encodePlan returns the pieces of a plan, of a size each. All owners must be among members.
func encodePlan(members []planMember, owners []string, size int) [][]byte {
	b := body{Members: members, Owners: make([]int, len(owners))}
	index := make(map[string]int, len(members))
	for i, m := range members {
		index[m.Name] = i
	}
	for id, name := range owners {
		if i, ok := index[name]; ok {
			b.Owners[id] = i
		} else {
			b.Owners[id] = -1
		}
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(b) // strings and numbers always encode
	var pieces [][]byte
	for text.Len() > 0 {
		pieces = append(pieces, text.Next(size))
	}
	return pieces
}

// planned is a plan as it was read.
type planned struct {
	head

	revision int64 // of the head; 0 if there is no plan
	members  []planMember
	owners   []string
}

// says reports whether the plan has these members, and gives the shards to these owners.
func (p *planned) says(members []planMember, owners []string) bool {
	return p != nil && slices.Equal(members, p.members) && slices.Equal(owners, p.owners)
}

// member returns a member as the plan has it.
func (p *planned) member(name string) (m planMember, ok bool) {
	if p == nil {
		return planMember{}, false
	}
	i := slices.IndexFunc(p.members, func(m planMember) bool { return m.Name == name })
	if i < 0 {
		return planMember{}, false
	}
	return p.members[i], true
}

// errNoPlan says that a group has no plan yet.
var errNoPlan = errors.New("there is no plan yet")

// readPlan reads the plan that the head names. get returns a key's value and revision, 0
// if there is none.
func readPlan(k keys, get func(key string) (value []byte, revision int64)) (*planned, error) {
	p := new(planned)
	text, revision := get(k.head())
	if revision == 0 {
		return nil, errNoPlan
	}
	if err := json.Unmarshal(text, &p.head); err != nil {
		return nil, fmt.Errorf("head of the plan: %w", err)
	}
	p.revision = revision
	var whole []byte
	for n, want := range p.Pieces {
		if want == 0 {
			want = revision
		}
		piece, found := get(k.piece(p.Slot, n))
		if found != want {
			return nil, fmt.Errorf("piece %d of plan %d is of revision %d: must be of %d", n, p.Version, found, want)
		}
		whole = append(whole, piece...)
	}
	return p, p.decode(whole)
}

// decode takes over what the pieces contain together.
func (p *planned) decode(whole []byte) error {
	var b body
	if err := json.Unmarshal(whole, &b); err != nil {
		return fmt.Errorf("plan %d: %w", p.Version, err)
	}
	if len(b.Owners) != p.Shards || checkShards(p.Shards) != nil {
		return fmt.Errorf("plan %d has owners for %d shards: must be %d", p.Version, len(b.Owners), p.Shards)
	}
	p.members, p.owners = b.Members, make([]string, p.Shards)
	for id, i := range b.Owners {
		switch {
		case i >= len(b.Members):
			return fmt.Errorf("plan %d gives shard %d to member %d of %d", p.Version, id, i, len(b.Members))
		case i >= 0:
			p.owners[id] = b.Members[i].Name
		}
	}
	return nil
}
