package watch

import (
	"iter"
	"strings"

	"github.com/tidwall/btree"
)

// Snapshot is the state of a [Cache] at one revision. It never changes and may be
// used by any number of goroutines. The zero value is empty.
//
// It costs nothing until the cache changes; from then on it costs the memory of what has
// changed since.
type Snapshot[T any] struct {
	sorted   *btree.Map[string, *entry[T]]
	revision int64
}

// Revision returns the revision whose state this is.
func (s Snapshot[T]) Revision() int64 { return s.revision }

// Len returns the number of keys.
func (s Snapshot[T]) Len() int {
	if s.sorted == nil {
		return 0
	}
	return s.sorted.Len()
}

// Get returns what the snapshot has for key. It takes time logarithmic in Len and allocates
// nothing.
func (s Snapshot[T]) Get(key string) (item Item[T], ok bool) {
	if s.sorted == nil {
		return item, false
	}
	e, ok := s.sorted.Get(key)
	if !ok {
		return item, false
	}
	return e.Item, true
}

// All returns all keys and items in key order.
func (s Snapshot[T]) All() iter.Seq2[string, Item[T]] { return s.Prefix("") }

// Prefix returns the keys that begin with prefix and their items, in key order.
func (s Snapshot[T]) Prefix(prefix string) iter.Seq2[string, Item[T]] {
	return func(yield func(string, Item[T]) bool) {
		if s.sorted == nil {
			return
		}
		s.sorted.Ascend(prefix, func(key string, e *entry[T]) bool {
			return strings.HasPrefix(key, prefix) && yield(key, e.Item)
		})
	}
}
