package main

import (
	"maps"
	"slices"
	"time"

	"github.com/conclave-go/conclave/examples/internal/workers"
)

// doing is what a worker does at the moment.
type doing string

const (
	starting doing = "starts"
	waiting  doing = "waits"
	holds    doing = "HOLDS"
	between  doing = "between"
	toldLost doing = "told: lost"
	killed   doing = "KILLED"
	stopped  doing = "STOPPED"
	cutOff   doing = "CUT OFF"
)

// member is a worker as the board shows it.
type member struct {
	name     string
	pid      int
	doing    doing
	token    string
	wanted   int64 // when it last asked for the lock
	acquired int
	has      bool          // the lock, as far as it was told
	last     time.Duration // its last hand-over
	gone     bool          // the process has ended
}

// handover is one release of the lock followed by its next grant.
type handover struct {
	at       int64
	from, to string
	token    string
	took     time.Duration
}

// board is the state of a crew, as far as its events tell.
type board struct {
	ttl       time.Duration
	members   workers.Roster[member]
	handovers []handover

	revisions map[string]int64  // of the entries in the queue, by key
	owners    map[string]string // who an entry's key belongs to
	released  event             // the release that no grant has followed yet
	counted   map[string]event  // the latest counts, by worker
}

func newBoard(names []string) *board {
	return &board{
		members:   workers.NewRoster(names, func(name string) *member { return &member{name: name, doing: starting} }),
		revisions: make(map[string]int64),
		owners:    make(map[string]string),
		counted:   make(map[string]event),
	}
}

// running returns how many of the processes have not ended.
func (b *board) running() int {
	return b.members.Count(func(m *member) bool { return !m.gone })
}

// clone returns a copy that a view may keep.
func (b *board) clone() *board {
	c := *b
	c.members = b.members.Clone()
	c.handovers = slices.Clip(b.handovers)
	c.revisions, c.owners = maps.Clone(b.revisions), maps.Clone(b.owners)
	return &c
}

// member returns one of nobody for events of the queue.
func (b *board) member(name string) *member { return b.members.Find(name) }

// apply takes an event in, and returns the hand-over that it completes, if any.
func (b *board) apply(e event) (handover, bool) {
	m := b.member(e.Worker)
	if e.PID != 0 {
		m.pid = e.PID
	}
	switch e.Kind {
	case ready:
		b.ttl, m.doing = e.TTL, between
	case wants:
		m.wanted, m.doing = e.At, waiting
	case waits:
		b.owners[e.Key] = e.Worker
	case granted:
		return b.grant(m, e)
	case released:
		m.doing, m.has, b.released = between, false, e
	case lost:
		m.doing, m.has = toldLost, false
	case acted:
		m.doing = doing(e.Detail)
	case exited:
		m.gone = true
	case keeps, wrote: // for the act
	case counts:
		b.counted[e.Worker] = e
	case enqueued:
		b.revisions[e.Key] = e.Revision
	case dequeued:
		delete(b.revisions, e.Key)
	}
	return handover{}, false
}

func (b *board) grant(m *member, e event) (handover, bool) {
	b.owners[e.Key] = m.name
	m.doing, m.has, m.token = holds, true, b.token(e)
	m.acquired++
	from := b.released
	b.released = event{}
	// A lock that was asked for after its release was free, not handed over.
	if from.Kind == "" || m.wanted > from.At {
		return handover{}, false
	}
	h := handover{at: e.At, from: from.Worker, to: m.name, token: m.token, took: time.Duration(e.At - from.At)}
	m.last = h.took
	b.handovers = append(b.handovers, h)
	return h, true
}

// token returns the token of a grant; where the library does not tell, the create
// revision of its entry, which is what Conclave's tokens are made of.
func (b *board) token(e event) string {
	if e.Token != "" {
		return e.Token
	}
	if r, ok := b.revisions[e.Key]; ok {
		return formatRevision(r)
	}
	return "?"
}

// line returns who is in the queue, the oldest entry first.
func (b *board) line() []string {
	return workers.Line(b.revisions, b.owners)
}

// predecessor returns whose entry in the queue is just before that of the worker.
func (b *board) predecessor(name string) string {
	before := ""
	for _, owner := range b.line() {
		if owner == name {
			return before
		}
		before = owner
	}
	return ""
}

// behind returns those who wait behind a worker, in their order.
func (b *board) behind(name string) []string {
	line := b.line()
	i := slices.Index(line, name)
	if i < 0 {
		return nil
	}
	return line[i+1:]
}

// took returns how long each hand-over took.
func (b *board) took() []time.Duration {
	ds := make([]time.Duration, len(b.handovers))
	for i, h := range b.handovers {
		ds[i] = h.took
	}
	return ds
}

// cost returns what all workers together asked of etcd, and how often they had the
// lock meanwhile.
func (b *board) cost() (rpcs map[string]int, acquisitions int) {
	rpcs = make(map[string]int)
	for _, e := range b.counted {
		acquisitions += e.Acquisitions
		for method, n := range e.RPCs {
			rpcs[method] += n
		}
	}
	return rpcs, acquisitions
}
