package watchlab

import (
	"fmt"
	"hash/maphash"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// event is a change of a key. Of the value it has a digest, so that many copies of large
// values need not be kept.
type event struct {
	key     string
	deleted bool
	value   digest
	create  int64
	mod     int64
	version int64
	lease   int64
}

// digest stands for a value.
type digest uint64

// digester makes the digests of one bout comparable.
type digester struct{ seed maphash.Seed }

func (d digester) of(value []byte) digest { return digest(maphash.Bytes(d.seed, value)) }

func (d digester) convert(ev *clientv3.Event) event {
	return event{
		key: string(ev.Kv.Key), deleted: ev.Type == clientv3.EventTypeDelete, value: d.of(ev.Kv.Value),
		create: ev.Kv.CreateRevision, mod: ev.Kv.ModRevision, version: ev.Kv.Version, lease: ev.Kv.Lease,
	}
}

func (d digester) convertAll(all []*clientv3.Event) []event {
	events := make([]event, len(all))
	for i, ev := range all {
		events[i] = d.convert(ev)
	}
	return events
}

// String shows all there is to an event.
func (e event) String() string {
	if e.deleted {
		return fmt.Sprintf("DELETE %s at %d", e.key, e.mod)
	}
	return fmt.Sprintf("PUT %s at %d, created %d, version %d, lease %x, value %x", e.key, e.mod, e.create, e.version, e.lease, uint64(e.value))
}

// state is what there is: each key with its last PUT.
type state map[string]event

func (s state) apply(events ...event) {
	for _, ev := range events {
		if ev.deleted {
			delete(s, ev.key)
		} else {
			s[ev.key] = ev
		}
	}
}

// scope is the keys that somebody watches, as a client sees them who may be in a
// namespace.
type scope struct {
	space  string
	key    string
	prefix bool
}

// local returns a key of the store as it is seen in the scope.
func (s scope) local(full string) (key string, ok bool) {
	key, ok = strings.CutPrefix(full, s.space)
	if !ok {
		return "", false
	}
	if s.prefix {
		return key, strings.HasPrefix(key, s.key)
	}
	return key, key == s.key
}
