package history

import (
	"cmp"
	"slices"

	"github.com/conclave-go/conclave/lock"
)

// entry is a key of the lock's queue, from one revision to another.
type entry struct {
	key           string
	created, gone int64
	goneAt        int64 // the time at which that was learned
}

// ledger compares grants and guarded writes with etcd's own history of the keys, in
// which nothing depends on clocks.
func (r *Result) ledger(events []Event, holds []Hold) {
	if i := slices.IndexFunc(events, func(e Event) bool { return e.Kind == Gap }); i >= 0 {
		r.Notes = append(r.Notes, "etcd's history has a gap: "+events[i].Detail)
		return
	}
	entries := entriesOf(events)
	for _, h := range holds {
		if h.Token != 0 { // else it could not be read
			r.granted(entries, h)
		}
	}
	value := int64(0)
	for _, e := range inRevisions(events, Stored) {
		if e.Way == Plain {
			continue
		}
		r.Writes[Txn]++
		if e.Found != value {
			r.Lost[Txn]++
			r.found(Order, e.At, "%s replaced %d, having read %d", e.Hold, value, e.Found)
		}
		value = e.Value
		r.stored(entries, e)
	}
}

// plain counts the writes that etcd has of those that nothing but the lock protects, and
// those of them that overwrote another unseen.
func (r *Result) plain(events []Event) {
	value := int64(0)
	for _, e := range inRevisions(events, Stored) {
		if e.Way != Plain {
			continue
		}
		r.Writes[Plain]++
		if e.Found != value {
			r.Lost[Plain]++
		}
		value = e.Value
	}
}

// granted requires that the hold's entry was there, and became the oldest.
func (r *Result) granted(entries []entry, h Hold) {
	own, ok := find(entries, h.Token)
	if !ok || own.key != h.Key {
		r.found(S1, h.Granted, "%s was granted the lock with token %s, which is no entry's", h.ID, Text(h.Token))
		return
	}
	for _, older := range entries {
		if older.created < own.created && older.gone > own.gone {
			r.found(S1, h.Granted, "%s was granted the lock before %s was gone, which is older", h.ID, older.key)
		}
	}
}

// stored requires that the writer's entry was the oldest at the revision of the write.
func (r *Result) stored(entries []entry, e Event) {
	own, ok := find(entries, e.Token)
	if !ok || own.gone <= e.Revision {
		r.found(S4, e.At, "%s wrote at revision %d, when its entry was gone", e.Hold, e.Revision)
	}
	for _, older := range entries {
		if older.created < own.created && older.gone > e.Revision {
			r.found(S1, e.At, "%s wrote at revision %d, when %s was older", e.Hold, e.Revision, older.key)
		}
	}
}

// entriesOf returns the entries by their create revisions.
func entriesOf(events []Event) []entry {
	var all []entry
	for _, e := range inRevisions(events, Entry, Gone) {
		if e.Kind == Entry {
			all = append(all, entry{key: e.Key, created: e.Revision, gone: Open})
			continue
		}
		for i := range all {
			if all[i].key == e.Key && all[i].gone == Open {
				all[i].gone, all[i].goneAt = e.Revision, e.At
			}
		}
	}
	return all
}

// inRevisions returns the events of some kinds in etcd's order.
func inRevisions(events []Event, kinds ...Kind) []Event {
	var some []Event
	for _, e := range events {
		if slices.Contains(kinds, e.Kind) {
			some = append(some, e)
		}
	}
	slices.SortStableFunc(some, func(a, b Event) int { return cmp.Compare(a.Revision, b.Revision) })
	return some
}

func find(entries []entry, token int64) (entry, bool) {
	i, ok := slices.BinarySearchFunc(entries, lock.Token(token).Revision(), func(e entry, r int64) int {
		return cmp.Compare(e.created, r)
	})
	if !ok {
		return entry{created: lock.Token(token).Revision()}, false
	}
	return entries[i], true
}
