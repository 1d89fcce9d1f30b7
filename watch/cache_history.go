package watch

import (
	"slices"
	"sort"
)

const (
	// chunk is how many changes a reader takes at a time.
	chunk = 256
	// minHistory is the length at which a history is first cut back.
	minHistory = 1024
)

// history is what the readers of a cache's changes have yet to read: the entries in
// the order of their revisions, once for all readers. It is empty without readers.
//
// A reader is a revision, the one up to which it has read. When the history has
// doubled since it was last cut back, what all have read goes, as well as what none
// needs any more because a newer entry of the key follows or because the key came
// and went unseen. So it is no longer than twice the number of keys there are or the
// slowest reader has seen.
type history[T any] struct {
	entries []*entry[T]
	limit   int // the length at which it is cut back
	least   int // the least such length
	readers map[*reader]struct{}
}

// reader is one that reads a history.
type reader struct{ read int64 }

func newHistory[T any]() history[T] {
	return history[T]{limit: minHistory, least: minHistory, readers: make(map[*reader]struct{})}
}

// add appends the newest entry.
func (h *history[T]) add(e *entry[T]) {
	if len(h.readers) > 0 {
		h.entries = append(h.entries, e)
	}
}

// join adds a reader that has read up to revision.
func (h *history[T]) join(revision int64) *reader {
	r := &reader{read: revision}
	h.readers[r] = struct{}{}
	return r
}

// leave removes a reader.
func (h *history[T]) leave(r *reader) {
	delete(h.readers, r)
	if len(h.readers) == 0 {
		h.entries, h.limit = nil, h.least
	}
}

// next returns what r has to read next, from a history that is complete up to
// revision: a chunk, and always whole revisions. The result is empty once r has read
// everything.
func (h *history[T]) next(r *reader, t *table[T], revision int64) []*entry[T] {
	var due []*entry[T]
	i := h.after(r.read)
	read := r.read
	for ; i < len(h.entries); i++ {
		e := h.entries[i]
		if len(due) >= chunk && e.ModRevision > read {
			r.read = read
			return due
		}
		if e.due(r.read, t) {
			due = append(due, e)
		}
		read = e.ModRevision
	}
	r.read = revision
	return due
}

// after returns the index of the first entry after revision.
func (h *history[T]) after(revision int64) int {
	return sort.Search(len(h.entries), func(i int) bool { return h.entries[i].ModRevision > revision })
}

// due reports whether a reader that has read up to revision, before e, has to read e.
func (e *entry[T]) due(revision int64, t *table[T]) bool {
	if e.deleted() {
		return e.CreateRevision <= revision // else it never knew the key
	}
	return t.byKey[e.key] == e
}

// trim cuts the history back if it has grown long.
func (h *history[T]) trim(t *table[T]) {
	if len(h.entries) < h.limit {
		return
	}
	reads := make([]int64, 0, len(h.readers))
	for r := range h.readers {
		reads = append(reads, r.read)
	}
	slices.Sort(reads)
	h.entries = slices.DeleteFunc(h.entries, func(e *entry[T]) bool {
		i, _ := slices.BinarySearch(reads, e.ModRevision) // those before i have it to read
		return i == 0 || !e.due(reads[i-1], t)
	})
	h.limit = max(h.least, 2*len(h.entries))
}
