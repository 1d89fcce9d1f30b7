package election

import (
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// roll is the candidates of an election, oldest first. What is kept of each is the key
// and the value, unread: only a leader's is looked at.
type roll []*mvccpb.KeyValue

// apply takes over an event.
func (r *roll) apply(ev *clientv3.Event) {
	i := slices.IndexFunc(*r, func(kv *mvccpb.KeyValue) bool { return string(kv.Key) == string(ev.Kv.Key) })
	switch {
	case ev.Type == clientv3.EventTypeDelete && i < 0:
	case ev.Type == clientv3.EventTypeDelete:
		*r = slices.Delete(*r, i, i+1)
	case i >= 0 && (*r)[i].CreateRevision == ev.Kv.CreateRevision:
		(*r)[i] = ev.Kv
	case i >= 0: // deleted and put again, in a difference
		*r = slices.Delete(*r, i, i+1)
		r.insert(ev.Kv)
	default:
		r.insert(ev.Kv)
	}
}

func (r *roll) insert(kv *mvccpb.KeyValue) {
	i, _ := slices.BinarySearchFunc(*r, kv.CreateRevision, func(other *mvccpb.KeyValue, created int64) int {
		return int(other.CreateRevision - created)
	})
	*r = slices.Insert(*r, i, kv)
}

// leader returns the oldest candidate.
func (r *roll) leader(p place) Leader {
	if len(*r) == 0 {
		return Leader{}
	}
	return leaderOf((*r)[0], p)
}
