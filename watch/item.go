package watch

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// eventCost is about what an event takes in memory besides its key and value.
	eventCost = 256
	// minStale is how many obsolete events are worth removing.
	minStale = 1000
)

func sizeOf(ev *clientv3.Event) int { return eventCost + len(ev.Kv.Key) + len(ev.Kv.Value) }

// item is a batch that waits in a buffer.
type item struct {
	Batch
	// gap says that history is missing before the batch, which has no events:
	// the state has to be read.
	gap bool
	// anew says that a gap begins another history, see WithRebuild.
	anew    bool
	cluster uint64 // of a gap: the ID of the cluster whose state is to be read, 0 if not known
	epoch   int    // how often the buffer had been reset
	size    int

	conflate bool
	latest   map[string]int // the index of each key's event, if conflating
	stale    int            // how many events later ones have replaced by nil
}

// foreign returns why a state that was read with a header is not one after the gap, nil if it
// may be.
func (it *item) foreign(header *pb.ResponseHeader) error {
	switch id := header.GetClusterId(); {
	case id != 0 && it.cluster != 0 && id != it.cluster:
		return &ClusterError{Expected: it.cluster, Actual: id}
	case header.GetRevision() < it.Revision:
		return &FutureRevisionError{Requested: it.Revision + 1, Current: header.GetRevision()}
	}
	return nil
}

// add appends what comes after the batch: events only if it conflates or has none.
func (it *item) add(b Batch) {
	it.Revision = b.Revision
	if len(b.Events) == 0 {
		return
	}
	if !it.conflate {
		it.Events = b.Events
		for _, ev := range b.Events {
			it.size += sizeOf(ev)
		}
		return
	}
	if it.latest == nil {
		it.latest = make(map[string]int, len(b.Events))
	}
	for _, ev := range b.Events {
		it.replace(ev)
	}
	if it.stale > minStale && it.stale > len(it.latest) {
		it.compact()
	}
}

// replace appends an event and drops the one that it makes obsolete.
func (it *item) replace(ev *clientv3.Event) {
	if i, ok := it.latest[string(ev.Kv.Key)]; ok {
		it.size -= sizeOf(it.Events[i])
		it.Events[i] = nil
		it.stale++
	}
	it.latest[string(ev.Kv.Key)] = len(it.Events)
	it.Events = append(it.Events, ev)
	it.size += sizeOf(ev)
}

// compact removes the places of dropped events.
func (it *item) compact() {
	if it.stale == 0 {
		return
	}
	it.Events = slices.DeleteFunc(it.Events, func(ev *clientv3.Event) bool { return ev == nil })
	it.stale = 0
	for i, ev := range it.Events {
		it.latest[string(ev.Kv.Key)] = i
	}
}

// skip removes the events up to a revision.
func (it *item) skip(revision int64) {
	it.compact()
	kept := after(it.Events, revision)
	it.Events, it.latest, it.size = nil, nil, 0
	it.add(Batch{Revision: it.Revision, Events: kept})
}

// after returns the events above a revision.
func after(events []*clientv3.Event, revision int64) []*clientv3.Event {
	i := 0
	for i < len(events) && events[i].Kv.ModRevision <= revision {
		i++
	}
	return events[i:]
}
