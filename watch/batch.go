package watch

import clientv3 "go.etcd.io/etcd/client/v3"

// Batch is one step of a [Stream]: it takes a consumer that has handled all earlier batches
// from the state at their last revision to the state at Revision. A batch without events
// says that nothing else happened up to Revision.
type Batch struct {
	// Revision is the store's revision up to which, itself included, everything about the
	// key or prefix has been delivered. It grows from batch to batch, except for one that
	// is Rebuilt. A later stream that starts [WithRevision] of Revision+1 misses nothing.
	Revision int64
	// Events are in the order of their revisions, those of one revision all in one batch;
	// in a Snapshot they are in the order of keys. They are clientv3's own and not shared
	// with anybody.
	Events []*clientv3.Event
	// Snapshot says that Events are the state at Revision, a PUT for each existing key. It
	// is set in the first batch of a stream [WithSnapshot], and otherwise only in one that
	// is also Rebuilt.
	Snapshot bool
	// Rebuilt says that the store is no longer the one it was, see [WithRebuild]: what
	// earlier batches said is void, Events are the whole state, and Revision may be below
	// the previous one.
	Rebuilt bool
	// Resync says that the history since the previous batch was compacted away, and that
	// Events are the difference between the two states: a PUT for each key that is new or
	// was modified, with its current value, and a DELETE for each that is gone. What came
	// and went in between is not reported; a key that was deleted and created again is one
	// PUT with another CreateRevision. In such a DELETE, Kv has only the Key, and its
	// ModRevision is not that of the deletion, which nobody knows any more, but Revision.
	Resync bool
}
