package look

import (
	"bytes"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Slot is a key set aside for one entry of ours. Keys are used again, because a
// deleted key leaves a tombstone that every read of its range visits until
// compaction; but only after the entry is gone for certain and nothing can bring it
// back. Until then the slot is in doubt, and every look removes what it finds there.
type Slot struct {
	list *List
	key  string

	// The fields below are protected by the list's mu.

	doubtful bool
	// acked is the create revision of the entry whose removal is not confirmed,
	// 0 if there is none.
	acked int64
	// unsettled counts puts that may still take effect, however late, and value
	// is what they put, nil for anything.
	unsettled int
	value     []byte
	// with are operations that remove what the puts have left beside the key.
	with []clientv3.Op
}

// Reserve sets aside the first of key(0), key(1), ... that is not in use or in doubt.
func (l *List) Reserve(key func(n int) string) *Slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := 0; ; n++ {
		k := key(n)
		if _, used := l.slots[k]; !used {
			s := &Slot{list: l, key: k}
			l.slots[k] = s
			return s
		}
	}
}

// Take sets key aside for an entry that exists already. It reports whether that is
// possible: not while the key is in use or in doubt.
func (l *List) Take(key string) (*Slot, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, used := l.slots[key]; used {
		return nil, false
	}
	s := &Slot{list: l, key: key}
	l.slots[key] = s
	return s, true
}

// Suspect makes every look remove what the lease has under key while one of the
// given number of puts may still arrive.
func (l *List) Suspect(key string, unsettled int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slots[key] = &Slot{list: l, key: key, doubtful: true, unsettled: unsettled}
}

// Reclaim takes key out of doubt, for a user who puts it again and from now on
// answers for what may still arrive: looks would remove the new entry with the old.
// It returns how many puts are unsettled.
func (l *List) Reclaim(key string) (unsettled int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slots[key]
	if s == nil || !s.doubtful {
		return 0
	}
	delete(l.slots, key)
	return s.unsettled
}

// Doubts returns how many keys are in doubt.
func (l *List) Doubts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.slots {
		if s.doubtful {
			n++
		}
	}
	return n
}

// Key returns the key.
func (s *Slot) Key() string { return s.key }

// Doubt gives the slot back when its entry, of create revision acked (0: none that
// we know of), may still be there, or one of unsettled puts of value may bring one.
// If it is gone for certain and there are no such puts, the slot is free. What is removed
// is removed together with what the given operations remove.
func (s *Slot) Doubt(acked int64, unsettled int, value string, with ...clientv3.Op) {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	s.doubtful, s.acked, s.unsettled, s.value, s.with = true, acked, unsettled, []byte(value), with
	s.freeIfSettled()
}

// Gone notes that the entry of create revision acked does not exist any more, or, for
// 0, that one which an unsettled put had made has just been deleted. The slot must be
// in doubt.
func (s *Slot) Gone(acked int64) {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	switch acked {
	case 0:
		s.unsettled--
	case s.acked:
		s.acked = 0
	}
	s.freeIfSettled()
}

// freeIfSettled forgets the slot once nothing can be under its key any more. The
// list's mu must be held.
func (s *Slot) freeIfSettled() {
	if s.acked == 0 && s.unsettled <= 0 && s.list.slots[s.key] == s {
		delete(s.list.slots, s.key)
	}
}

// current reports whether the slot is still the one that is in doubt under its key:
// else what a look found there may be the entry of its next user.
func (s *Slot) current() bool {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	return s.doubtful && s.list.slots[s.key] == s
}

// made reports whether kv is an entry that the slot is in doubt about, and not what
// somebody else has put under the key.
func (s *Slot) made(kv *mvccpb.KeyValue, lease clientv3.LeaseID) bool {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	if kv == nil || clientv3.LeaseID(kv.Lease) != lease {
		return false
	}
	return kv.CreateRevision == s.acked || s.value == nil || bytes.Equal(kv.Value, s.value)
}

// absent notes that the key did not exist at revision rev. That proves nothing about
// puts that may still arrive.
func (s *Slot) absent(rev int64) {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	if rev >= s.acked {
		s.acked = 0
		s.freeIfSettled()
	}
}

// removed notes that a look has deleted the entry of the given create revision.
func (s *Slot) removed(created int64) {
	s.list.mu.Lock()
	own := created == s.acked
	s.list.mu.Unlock()
	if own {
		s.Gone(created)
	} else {
		s.Gone(0)
	}
}
