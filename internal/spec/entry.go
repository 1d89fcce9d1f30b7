package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// state is where an entry is in its life, by the names that package queue has for it.
type state int

const (
	reserved state = iota
	pending
	waiting
	owner
	removing
	unsettled
	gone
)

func (s state) String() string {
	return [...]string{"reserved", "pending", "waiting", "owner", "removing", "unsettled", "gone"}[s]
}

// entry is one acquisition's key, as far as its process can know from what it has sent and
// received.
type entry struct {
	process int
	key     string
	value   string
	lane    lane
	group   []*entry // of the same transaction, itself among them
	state   state
	// created is the create revision, 0 while it is not known.
	created int64
	// absent is set once the entry of that revision is known to be gone, and refuted once
	// conditions on its group have failed, which says so of one of them.
	absent, refuted bool
	// puts and deletes count those without an answer. applied is set if a put was answered,
	// and found if the entry was found where it was to be put.
	puts, deletes  int
	applied, found bool
	// owns is the revision at which an answer has shown that nobody was in its way, 0 if none
	// has.
	owns int64
	// before is the nearest entry in its way, as of revision seen. all is set if what was older
	// yet is known, and others are those of it that are not known to be gone. next is the
	// revision at which before, and of others the last, is known to be gone, 0 if before is not.
	before        string
	beforeCreated int64
	all           bool
	others        []Change
	seen, next    int64
	// held is set while a hold has it, and granted once one had.
	held, granted bool
	// overtaken is set if the news that it is gone came after the proof that it owns, and before
	// the grant: nobody can say which of two messages a process has read when it grants.
	overtaken bool
	trail     []event
}

// event is something that happened to an entry.
type event struct {
	step     int
	at       time.Duration
	what     string
	revision int64
	state    state // after it
}

// sharesQueue reports whether one of two entries is in the queue of the other, which one of
// another layout may be within.
func (e *entry) sharesQueue(other *entry) bool {
	return strings.HasPrefix(e.key, other.lane.queue) || strings.HasPrefix(other.key, e.lane.queue)
}

// longestTrail is how much of an entry's past is kept.
const longestTrail = 24

func (e *entry) note(s cursor, what string, revision int64) {
	if len(e.trail) == longestTrail {
		e.trail = append(e.trail[:1], e.trail[2:]...)
	}
	e.trail = append(e.trail, event{s.step, s.at, what, revision, e.state})
}

// past returns the trail for people to read.
func (e *entry) past() []string {
	lines := []string{fmt.Sprintf("entry %q, created at %d, %d puts and %d deletions without an answer", e.key, e.created, e.puts, e.deletes)}
	for _, ev := range e.trail {
		line := fmt.Sprintf("%6d %10v %s", ev.step, ev.at.Round(time.Microsecond), ev.what)
		if ev.revision != 0 {
			line += fmt.Sprintf(" at revision %d", ev.revision)
		}
		lines = append(lines, line+": "+ev.state.String())
	}
	return lines
}

// raw reports whether the entry has no nonce, as those of other libraries.
func (e *entry) raw() bool { return isRaw(e.value) }

func isRaw(value string) bool { return !strings.HasPrefix(value, `{"nonce":`) }

// unanswered is how many puts may yet take effect.
func (e *entry) unanswered() int {
	if e.found && !e.applied {
		return e.puts - 1
	}
	return e.puts
}

// putAgain starts or goes on with putting the entry: reserved, pending or, after a refusal, gone
// to pending. A put that goes out beside one that has been answered changes nothing.
func (e *entry) putAgain(s cursor) {
	e.puts++
	if e.state == reserved || e.state == gone {
		e.state = pending
	}
	e.note(s, "put sent", 0)
}

// putAnswered notes that a put was applied, at a revision, or, at 0, refused.
func (e *entry) putAnswered(s cursor, revision int64) {
	e.puts--
	if revision == 0 {
		e.settle()
		e.note(s, "put refused", 0)
		return
	}
	e.applied = true
	e.there(s, revision, "put")
}

// foundAt notes that an earlier put turned out to be applied.
func (e *entry) foundAt(s cursor, created int64) {
	if e.created == 0 {
		e.found = true
	}
	e.there(s, created, "found")
}

// there notes the create revision: pending to waiting.
func (e *entry) there(s cursor, created int64, how string) {
	if e.created == 0 {
		e.created = created
	}
	if e.state == pending {
		e.state = waiting
	}
	e.note(s, how, created)
}

// foreign notes that somebody else has the key: it is not used again.
func (e *entry) foreign(s cursor) {
	e.puts++
	e.state = unsettled
	e.note(s, "somebody else's", 0)
}

// deleteSent notes a deletion: waiting and owner to removing, pending to unsettled.
func (e *entry) deleteSent(s cursor) {
	e.deletes++
	switch e.state {
	case waiting, owner:
		e.state = removing
	case reserved, pending:
		e.state = unsettled
	case removing, unsettled, gone:
	}
	e.note(s, "deletion sent", 0)
}

// deleteAnswered notes that a deletion has found the entry, at a revision.
func (e *entry) deleteAnswered(s cursor, revision int64) {
	if e.created == 0 { // one that a put without an answer had made
		e.puts--
	} else {
		e.absent = true
	}
	e.settle()
	e.note(s, "deleted", revision)
}

// waitsFor notes which entries were in its way at a revision, and whether they are all.
func (e *entry) waitsFor(s cursor, older []Change, rev int64, all bool) {
	nearest := slices.MaxFunc(older, func(a, b Change) int { return cmp.Compare(a.Created, b.Created) })
	e.note(s, "it waits behind "+nearest.Key, rev)
	if rev < e.next { // what came since is known
		return
	}
	e.before, e.beforeCreated, e.seen, e.next = nearest.Key, nearest.Created, rev, 0
	e.all = all && e.lane.weight == 0 && !e.lane.reads
	e.others = slices.DeleteFunc(slices.Clone(older), func(c Change) bool { return c == nearest })
}

// alone reports whether nothing is known to be older but the nearest, if that.
func (e *entry) alone() bool { return e.all && len(e.others) == 0 }

// oneLess notes that an entry older than the nearest is not there any more.
func (e *entry) oneLess(key string, created, rev int64) {
	before := len(e.others)
	e.others = slices.DeleteFunc(e.others, func(c Change) bool { return c.Key == key && c.Created != created })
	if len(e.others) < before && e.next != 0 {
		e.next = max(e.next, rev)
	}
}

// ordered reports whether entries of its lane wait for each one that is older, and nobody
// else.
func (e *entry) ordered() bool {
	return e.lane.weight == 0 && !e.lane.reads && e.lane.behind == dirOf(e.key)
}

// missing notes that an answer of a revision shows that the entry is not there.
func (e *entry) missing(s cursor, revision int64, how string) {
	if e.created == 0 || revision < e.created || e.absent {
		return
	}
	e.absent = true
	e.overtaken = !e.granted && e.proof() != 0 && e.proof() < revision
	e.settle()
	e.note(s, how, revision)
}

// proof returns the revision at which an answer, or an event, has shown that it owns, 0 if none
// has.
func (e *entry) proof() int64 {
	if e.owns == 0 && e.alone() {
		return e.next
	}
	return e.owns
}

// settle makes the entry gone if nothing of it is there and nothing can bring it back,
// unsettled if that is still possible.
func (e *entry) settle() {
	switch {
	case e.created != 0 && !e.absent:
	case e.unanswered() <= 0:
		e.state = gone
	case e.absent:
		e.state = unsettled
	}
}

// lost reports whether it is known of one of its group that it is gone.
func (e *entry) lost() bool {
	for _, g := range e.group {
		if g.absent || g.refuted {
			return true
		}
	}
	return false
}
