package watchlab

import (
	"hash/maphash"
	"strings"

	"github.com/conclave-go/conclave/watch"
)

// Step is what a stream delivers, or how it begins or ends, in short: events as in [History].
type Step struct {
	From     int64 // a new stream from here, -1 for one from now
	Acked    int64
	Revision int64
	Snapshot bool
	Resync   bool
	Events   string
	Ended    error
}

// History is a truth that is written down: for each revision from the second on its events,
// "a=1 -b" being a PUT and a DELETE. An event at another revision than that of its batch
// has it behind: "a=1@3".
type History struct {
	*truth
	compacted int64
}

// NewHistory is a history that was compacted at a revision.
func NewHistory(compacted int64, revisions ...string) History {
	h := History{truth: newTruth(nil, digester{maphash.MakeSeed()}), compacted: compacted}
	now := state{}
	for i, text := range revisions {
		revision := int64(i + 2)
		for word := range strings.FieldsSeq(text) {
			ev := h.write(now, word, revision)
			now.apply(ev)
			h.events = append(h.events, ev)
		}
	}
	return h
}

// write is the event that a word stands for.
func (h History) write(now state, word string, revision int64) event {
	if key, ok := strings.CutPrefix(word, "-"); ok {
		return event{key: key, deleted: true, mod: revision, value: h.of(nil)}
	}
	key, value, _ := strings.Cut(word, "=")
	ev := event{key: key, value: h.of([]byte(value)), create: revision, mod: revision, version: 1}
	if old, ok := now[key]; ok {
		ev.create, ev.version = old.create, old.version+1
	}
	return ev
}

// parse returns the events that a batch has. One that was is known by key and value.
func (h History) parse(text string, revision int64) []event {
	var events []event
	for word := range strings.FieldsSeq(text) {
		found := h.write(state{}, word, revision)
		for _, ev := range h.events {
			if ev.key == found.key && ev.deleted == found.deleted && (ev.deleted || ev.value == found.value) {
				found = ev
			}
		}
		events = append(events, found)
	}
	return events
}

// Check is the first thing wrong with what a stream of all keys has delivered.
func (h History) Check(conflated bool, steps ...Step) (Check, error) {
	c := streamCheck{
		truth: h.truth, scope: scope{prefix: true}, conflated: conflated, state: state{},
		compacted: func() int64 { return h.compacted },
	}
	for _, s := range steps {
		b := batch{begins: s.From != 0, start: max(s.From, 0), acked: s.Acked, revision: s.Revision, snapshot: s.Snapshot, resync: s.Resync, ended: s.Ended}
		b.events = h.parse(s.Events, s.Revision)
		for i := range b.events {
			if b.resync && b.events[i].deleted { // when it was, nobody knows
				b.events[i].mod = b.revision
			}
		}
		if check, err := c.next(b); err != nil {
			return check, err
		}
	}
	return "", nil
}

// Change is a change of a cache, in short.
type Change struct {
	Event string
	At    int64 // the revision of a deletion
}

// CheckChanges is the first thing wrong with the changes of a cache of all keys.
func (h History) CheckChanges(list ...Change) error {
	l := &lab{truth: h.truth, journal: &journal{}}
	c := newChanges(&holder{lab: l, scope: scope{prefix: true}})
	for _, change := range list {
		ev := h.parse(change.Event, change.At)[0]
		if ev.deleted {
			ev.mod = change.At
		}
		c.pending = append(c.pending, ev)
	}
	c.verify()
	if len(l.journal.findings) > 0 {
		return found{l.journal.findings[0]}
	}
	return nil
}

// found is a finding as an error.
type found struct{ Finding }

// Error is the finding.
func (f found) Error() string { return f.String() }

// Compacted is the error of a stream.
func Compacted(requested, compacted int64) error {
	return &watch.CompactedError{Requested: requested, Compacted: compacted}
}
