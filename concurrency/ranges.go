package concurrency

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// KeyValue is a key that a transaction has read.
type KeyValue struct {
	Key, Value string
	// ModRevision is the revision at which it was last modified, 0 if this transaction has
	// put it.
	ModRevision int64
}

// GetRange returns the keys from the one given up to, but not including, end, in order,
// with what the transaction has put and deleted so far. The read is validated as [STM]'s
// Get is: unless the isolation is [ReadCommitted], the transaction commits only if no key of
// the range was modified, has come or has gone.
//
// That takes a condition for each key and one for the range, of the 128 that a server takes
// in a transaction. If it fails, the transaction does, and GetRange does not return. The
// other library has no such function.
func GetRange(s STM, from, end string) []KeyValue {
	a := s.attempt()
	if from == "" || end == "" {
		a.fail(fmt.Errorf("concurrency: range from %q to %q: neither must be empty", from, end))
	}
	over := span{from, end}
	var all []KeyValue
	for _, kv := range a.read(over).kvs {
		if _, written := a.writes[string(kv.Key)]; !written {
			all = append(all, KeyValue{string(kv.Key), string(kv.Value), kv.ModRevision})
		}
	}
	for key, w := range a.writes {
		if over.covers(key) && !w.deletes {
			all = append(all, KeyValue{Key: key, Value: w.value})
		}
	}
	slices.SortFunc(all, func(x, y KeyValue) int { return cmp.Compare(x.Key, y.Key) })
	return all
}

// GetPrefix is [GetRange] of all keys that begin with prefix, which must not be empty.
func GetPrefix(s STM, prefix string) []KeyValue {
	return GetRange(s, prefix, clientv3.GetPrefixRangeEnd(prefix))
}

// Exists reports whether a key exists, or will exist once the transaction commits: an empty
// value does not tell. The other library has no such function.
func Exists(s STM, key string) bool {
	a := s.attempt()
	if w, ok := a.writes[key]; ok {
		return !w.deletes
	}
	return a.key(key) != nil
}

// GetJSON returns the value of a key, decoded from JSON, and whether the key exists. A value
// that cannot be decoded fails the transaction, and GetJSON does not return. The other
// library has no such function.
func GetJSON[T any](s STM, key string) (value T, exists bool) {
	if !Exists(s, key) {
		return value, false
	}
	if err := json.Unmarshal([]byte(s.Get(key)), &value); err != nil {
		s.attempt().fail(fmt.Errorf("concurrency: value of %q: %w", key, err))
	}
	return value, true
}

// PutJSON puts a value, encoded as JSON, when the transaction commits. A value that cannot
// be encoded fails the transaction, and PutJSON does not return. The other library has no
// such function.
func PutJSON[T any](s STM, key string, value T, opts ...clientv3.OpOption) {
	encoded, err := json.Marshal(value)
	if err != nil {
		s.attempt().fail(fmt.Errorf("concurrency: value for %q: %w", key, err))
	}
	s.Put(key, string(encoded), opts...)
}
