package watch

import (
	"slices"
	"sort"
)

const (
	// chunk is how many changes a reader takes at a time, and maxScan how many entries it
	// looks at for that, while the cache cannot change: a reader far behind finds mostly
	// what later changes have replaced.
	chunk   = 256
	maxScan = 8 * chunk
	// minHistory is the length at which a history is first cut back.
	minHistory = 1024
)

// history is what the readers of a cache's changes have yet to read: the entries in
// the order of their revisions, once for all readers. It is empty without readers.
//
// A reader is a number, see entry.at, the one up to which it has read. When the history has
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

// join adds a reader that has read up to a number.
func (h *history[T]) join(at int64) *reader {
	r := &reader{read: at}
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

// next returns what r has to read next, from a history that is complete up to a
// number: a chunk, and always whole revisions; and whether there may be more.
func (h *history[T]) next(r *reader, t *table[T], now int64) (due []*entry[T], more bool) {
	first := h.after(r.read)
	read := r.read
	for i := first; i < len(h.entries); i++ {
		e := h.entries[i]
		if (len(due) >= chunk || i-first >= maxScan) && e.at > read {
			r.read = read
			return due, true
		}
		if e.due(r.read, t) {
			due = append(due, e)
		}
		read = e.at
	}
	r.read = now
	return due, false
}

// after returns the index of the first entry after a number.
func (h *history[T]) after(at int64) int {
	return sort.Search(len(h.entries), func(i int) bool { return h.entries[i].at > at })
}

// due reports whether a reader that has read up to a number, before e, has to read e.
func (e *entry[T]) due(read int64, t *table[T]) bool {
	if e.deleted() {
		return e.born <= read // else it never knew the key
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
		i, _ := slices.BinarySearch(reads, e.at) // those before i have it to read
		return i == 0 || !e.due(reads[i-1], t)
	})
	h.limit = max(h.least, 2*len(h.entries))
}
