package spec

import (
	"cmp"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Change is a change of a key in the store.
type Change struct {
	Key      string
	Revision int64
	// Created, Version, Lease and Value are those of a key that was put; all zero for a
	// deletion.
	Created int64
	Version int64
	Lease   int64
	Value   string
}

// deleted reports whether the change is a deletion.
func (c Change) deleted() bool { return c.Created == 0 }

// History is the store's history: what it had at first, as changes of the revisions at
// which they were made, and all changes since, in order.
type History struct {
	// Known is set if the history is complete up to Revision.
	Known    bool
	Revision int64
	Changes  []Change
}

// Add adds an event of a watch.
func (h *History) Add(ev *clientv3.Event) {
	change := Change{Key: string(ev.Kv.Key), Revision: ev.Kv.ModRevision}
	if ev.Type == clientv3.EventTypePut {
		change = Put(ev.Kv)
	}
	h.Changes = append(h.Changes, change)
	h.Revision = change.Revision
}

// Put returns the change that has put a key.
func Put(kv *mvccpb.KeyValue) Change {
	return Change{
		Key: string(kv.Key), Revision: kv.ModRevision, Created: kv.CreateRevision, Version: kv.Version, Lease: kv.Lease, Value: string(kv.Value),
	}
}

// claim is that an entry owned at a revision, as an answer has shown.
type claim struct {
	entry    *entry
	revision int64
	step     int
}

// verify reports the claims that the history contradicts.
func (h *History) verify(claims []claim, contradict func(c claim, by string)) {
	if !h.Known {
		return
	}
	slices.SortStableFunc(claims, func(a, b claim) int { return cmp.Compare(a.revision, b.revision) })
	alive := make(map[string]map[string]Change) // by directory and key
	next := 0
	for _, c := range claims {
		if c.revision > h.Revision {
			return
		}
		for ; next < len(h.Changes) && h.Changes[next].Revision <= c.revision; next++ {
			apply(alive, h.Changes[next])
		}
		if by := c.entry.contradicted(alive); by != "" {
			contradict(c, by)
		}
	}
}

func apply(alive map[string]map[string]Change, c Change) {
	dir := dirOf(c.Key)
	if c.deleted() {
		delete(alive[dir], c.Key)
		return
	}
	if alive[dir] == nil {
		alive[dir] = make(map[string]Change)
	}
	alive[dir][c.Key] = c
}

// contradicted says why the entry does not own, "" if it does.
func (e *entry) contradicted(alive map[string]map[string]Change) string {
	own := alive[dirOf(e.key)][e.key]
	switch {
	case own.Created != e.created:
		return "the entry was not there"
	case !e.raw() && own.Value != e.value && own.Version == 1:
		return "it was not what was put"
	}
	var older []Change
	for dir, keys := range alive {
		if !strings.HasPrefix(dir, e.lane.behind) {
			continue
		}
		for _, c := range keys {
			if c.Created < e.created {
				older = append(older, c)
			}
		}
	}
	slices.SortFunc(older, func(a, b Change) int { return cmp.Compare(a.Created, b.Created) })
	return e.lane.inTheWay(older)
}
