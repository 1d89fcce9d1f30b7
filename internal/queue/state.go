package queue

import (
	"errors"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/race"
	"github.com/conclave-go/conclave/lease"
)

// state is where an entry is in its life. The package comment has the diagram.
type state int8

const (
	reserved state = iota
	pending
	waiting
	owner
	removing
	unsettled
	gone
)

// String returns the state's name.
func (s state) String() string {
	return [...]string{"reserved", "pending", "waiting", "owner", "removing", "unsettled", "gone"}[s]
}

// mayBecome reports whether a state can be followed by another.
func (s state) mayBecome(next state) bool {
	switch s {
	case reserved:
		return next == pending || next == waiting || next == gone
	case pending:
		return next == waiting || next == unsettled || next == gone
	case waiting:
		return next == owner || next == removing || next == unsettled || next == gone
	case owner:
		return next == removing || next == unsettled || next == gone
	case removing:
		return next == unsettled || next == gone
	case unsettled:
		return next == gone
	default:
		return false
	}
}

// life is the state of an entry and what is known of its requests. All that changes it is
// in this file.
type life struct {
	mu    sync.Mutex // attempts of one request may be under way side by side
	state state
	// puts counts enqueues without an answer: each may be applied, however late. applied
	// is set if one was answered so.
	puts    int
	applied bool
	// deletes counts deletions without an answer: one that comes after may find nothing.
	// deleted is set if one was answered so.
	deletes int
	deleted bool
	// owned is set once it has come to own.
	owned bool
}

// become changes the state. mu must be held.
func (l *life) become(next state) {
	if race.Enabled && next != l.state && !l.state.mayBecome(next) {
		panic(fmt.Sprintf("queue: an entry that is %v cannot become %v", l.state, next))
	}
	l.state = next
	l.check()
}

// check panics, under the race detector, if what is known of the requests cannot be. mu must
// be held.
func (l *life) check() {
	if race.Enabled && (l.puts < 0 || l.deletes < 0) {
		panic(fmt.Sprintf("queue: an entry that is %v has %d enqueues and %d deletions without an answer", l.state, l.puts, l.deletes))
	}
}

// putSent notes that an enqueue goes out: reserved to pending.
func (l *life) putSent() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.become(pending)
	l.puts++
}

// putAnswered notes what became of it. Without an answer it stays pending.
func (l *life) putAnswered(resp *clientv3.TxnResponse, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if inDoubt(err) {
		return
	}
	l.puts--
	l.applied = l.applied || err == nil && resp.Succeeded
}

// inDoubt reports whether a request that has ended with err may take effect still.
func inDoubt(err error) bool {
	return err != nil && !errors.Is(err, errUnsent) && attempt.Uncertain(err)
}

// recount counts an enqueue that was applied as one without an answer, if the answer of another
// beside it was taken for that of both: what it has put is known to nobody.
func (e *entry) recount() {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	if e.created == 0 && e.life.applied && !e.life.deleted {
		e.life.applied = false
		e.life.puts++
	}
}

// mayExist reports whether the key may be in the store, or come to be.
func (e *entry) mayExist() bool {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	return e.created != 0 || e.life.puts > 0
}

// becomeWaiting notes that the entry is in the store since revision created: pending to
// waiting. Whether anything is in its way is to be found out.
func (e *entry) becomeWaiting(created, modified int64, of lease.Header) {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	e.life.become(waiting)
	e.created, e.modified, e.header = created, modified, of
	e.header.Revision = created
}

// becomeOwner notes that nothing is in the entry's way: waiting to owner.
func (e *entry) becomeOwner() {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	if race.Enabled && e.waits() {
		panic(fmt.Sprintf("queue: an entry is to own behind %q", e.waitsAt().before.key))
	}
	e.life.become(owner)
	e.life.owned = true
}

// hasOwned reports whether the entry is the one of revision created, and has come to own:
// then nothing older than it was left.
func (e *entry) hasOwned(created int64) bool {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	return e.created == created && e.life.owned
}

// becomeRemoving notes that somebody waits for the entry's removal: owner, or waiting, to
// removing.
func (e *entry) becomeRemoving() {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	e.life.become(removing)
}

// deleteSent and deleteAnswered note what becomes of a deletion.
func (l *life) deleteSent() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deletes++
}

func (l *life) deleteAnswered(removed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if inDoubt(err) {
		return
	}
	l.deletes--
	l.deleted = l.deleted || removed
}

// undeleted returns how many deletions have no answer.
func (l *life) undeleted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deletes
}

// mayBeDeleted reports whether a deletion of the entry was applied, or may have been.
func (l *life) mayBeDeleted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deleted || l.deletes > 0
}

// becomeUnsettled gives the entry up to the lease's looks, which remove what there is of
// it, and what a put without an answer may bring: any state but gone to unsettled.
func (e *entry) becomeUnsettled() {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	e.life.become(unsettled)
	e.giveBackKeys(e.created)
}

// becomeGone notes that the entry is not in the store: any state to gone, and to
// unsettled as long as a put without an answer may bring it back.
func (e *entry) becomeGone() {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	if e.life.puts > 0 {
		e.life.become(unsettled)
	} else {
		e.life.become(gone)
	}
	e.giveBackKeys(0)
}

// giveBackKeys gives the keys back, of which the given create revision may exist. mu must
// be held.
func (e *entry) giveBackKeys(created int64) {
	for i := range e.legs {
		e.legs[i].slot.Unsettle(created, e.life.puts, e.value, e.unmarking()...)
	}
}

// removed notes that an unsettled entry was deleted: to gone, if nothing can bring it
// back.
func (e *entry) removed() {
	e.life.mu.Lock()
	defer e.life.mu.Unlock()
	if e.created != 0 && e.life.puts == 0 {
		e.life.become(gone)
	}
	for i := range e.legs {
		e.legs[i].slot.Removed(e.created)
	}
}

// takenByAnother notes that somebody else has put the key, which is ours by construction:
// the lease is shared with another library. It stays unsettled for good, so that the key
// is not used again; a look removes nothing there but our own value.
func (l *life) takenByAnother() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.puts++
}

// found notes that the entry was found where it was to be put: so one of the enqueues
// without an answer was applied.
func (l *life) found() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.applied {
		l.puts--
	}
}

// mayBePut reports whether an enqueue was applied, or may have been: of two side by side the
// one that was may be answered before the one that found the entry is looked at, or after.
func (l *life) mayBePut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.applied || l.puts > 0
}
