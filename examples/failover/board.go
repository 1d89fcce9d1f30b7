package main

import (
	"maps"
	"slices"
	"time"

	"github.com/conclave-go/conclave/examples/internal/workers"
	"github.com/conclave-go/conclave/internal/timeline"
	"github.com/conclave-go/conclave/lock"
)

// doing is what a candidate does at the moment.
type doing string

const (
	starting doing = "starts"
	standing doing = "stands"
	leading  doing = "LEADS"
	toldLost doing = "told: lost"
	killed   doing = "KILLED"
	stopped  doing = "STOPPED"
	cutOff   doing = "CUT OFF"
)

// member is a candidate as the board shows it.
type member struct {
	name  string
	pid   int
	doing doing
	terms int
	token lock.Token // of its latest term
	until int64      // the deadline of that, as far as it was reported
	gone  bool       // the process has ended
}

// board is the state of the election, as far as events tell.
type board struct {
	ttl       time.Duration
	members   workers.Roster[member]
	seen      event // by the observer
	failovers []failover
	record    record
	charts    []timeline.Chart // of the acts that were played

	queue  map[string]lock.Token // the entries, by key
	owners map[string]string     // who a key belongs to
}

func newBoard(names []string) *board {
	return &board{
		members: workers.NewRoster(names, func(name string) *member { return &member{name: name, doing: starting} }),
		queue:   make(map[string]lock.Token),
		owners:  make(map[string]string),
	}
}

// clone returns a copy that a view may keep.
func (b *board) clone() *board {
	c := *b
	c.members = b.members.Clone()
	c.failovers = slices.Clone(b.failovers)
	c.record, c.charts = record{}, nil
	c.queue, c.owners = maps.Clone(b.queue), maps.Clone(b.owners)
	return &c
}

// member returns one of nobody for events of the store.
func (b *board) member(name string) *member { return b.members.Find(name) }

// apply takes an event in.
func (b *board) apply(e event) {
	b.applyStore(e)
	m := b.member(e.Worker)
	if e.PID != 0 {
		m.pid = e.PID
	}
	switch e.Kind {
	case ready:
		b.ttl, m.doing, m.gone = e.TTL, standing, false
	case waits:
		b.owners[e.Key], m.doing = e.Worker, standing
	case elected:
		b.owners[e.Key], m.doing = e.Worker, leading
		m.terms++
		m.token, m.until = e.Token, e.Until
	case leads:
		m.until = max(m.until, e.Until)
	case resigns, transfers:
		m.doing = standing
	case refused:
		m.doing = leading
	case told:
		m.doing = toldLost
	case acted:
		m.doing, m.gone = doing(e.Detail), false
	case exited:
		m.gone = true
	default: // for the act, or the store's
	}
	b.record.apply(e)
}

// applyStore takes in what the parent has seen of etcd.
func (b *board) applyStore(e event) {
	switch e.Kind {
	case observed:
		b.seen = e
	case enqueued:
		b.queue[e.Key] = e.Token
	case dequeued:
		delete(b.queue, e.Key)
	case written:
		b.record.write(e.Token, b.first())
	default: // from workers
	}
}

// first returns the token of the oldest entry, 0 if there is none.
func (b *board) first() lock.Token {
	tokens := slices.Collect(maps.Values(b.queue))
	if len(tokens) == 0 {
		return 0
	}
	return slices.Min(tokens)
}

// line returns who is in the queue, the oldest entry first.
func (b *board) line() []string {
	return workers.Line(b.queue, b.owners)
}

// settled reports whether one of the candidates leads and all others wait.
func (b *board) settled() bool {
	line := b.line()
	for i, name := range line {
		if (b.member(name).doing == leading) != (i == 0) {
			return false
		}
	}
	return len(line) == len(b.members.All())
}

// running returns how many of the processes have not ended.
func (b *board) running() int {
	return b.members.Count(func(m *member) bool { return !m.gone })
}
