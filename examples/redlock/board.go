package main

import (
	"slices"
	"time"

	"github.com/conclave-go/conclave/examples/internal/workers"
)

// doing is what a worker does at the moment.
type doing string

const (
	starting doing = "starts"
	resting  doing = "rests"
	asking   doing = "asks"
	holds    doing = "HOLDS"
	stopped  doing = "STOPPED"
	toldLost doing = "told"
)

// member is a worker as the board shows it.
type member struct {
	name     string
	pid      int
	doing    doing
	wanted   int64 // when it last asked for the lock
	acquired int
	last     time.Duration // its last hand-over
	gone     bool          // the process has ended
}

// condition is what is wrong with a node.
type condition string

const (
	healthy   condition = "up"
	down      condition = "DOWN"
	hung      condition = "HANGS"
	forgetful condition = "RESTARTED EMPTY"
	ahead     condition = "CLOCK AHEAD"
)

// board is the state of a crew, as far as its events tell, and of the nodes.
type board struct {
	members   workers.Roster[member]
	nodes     []condition
	handovers []time.Duration
	released  event // the release that no grant has followed yet
	record    record
}

func newBoard(names []string, nodes int) *board {
	b := &board{
		members: workers.NewRoster(names, func(name string) *member { return &member{name: name, doing: starting} }),
	}
	for range nodes {
		b.nodes = append(b.nodes, healthy)
	}
	return b
}

// running returns how many of the processes have not ended.
func (b *board) running() int {
	return b.members.Count(func(m *member) bool { return !m.gone })
}

// clone returns a copy that a view may keep. It does without the record.
func (b *board) clone() *board {
	return &board{members: b.members.Clone(), nodes: slices.Clone(b.nodes), handovers: b.handovers}
}

func (b *board) member(name string) *member { return b.members.Find(name) }

// apply takes an event in.
func (b *board) apply(e event) {
	b.record.apply(e)
	m := b.member(e.Worker)
	if e.PID != 0 {
		m.pid = e.PID
	}
	switch e.Kind {
	case ready, rests, unlocked:
		m.doing = resting
	case wants:
		m.wanted, m.doing = e.At, asking
	case granted:
		b.grant(m, e)
	case released:
		b.released = e
	case lost:
		m.doing = toldLost
	case acted:
		m.doing = doing(e.Detail)
	case exited:
		m.gone = true
	case checked, wrote, extended: // for the act
	}
}

func (b *board) grant(m *member, e event) {
	m.doing = holds
	m.acquired++
	from := b.released
	b.released = event{}
	// A lock that was asked for after its release was free, not handed over.
	if from.Kind == "" || m.wanted > from.At {
		return
	}
	m.last = time.Duration(e.At - from.At)
	b.handovers = append(b.handovers, m.last)
}
