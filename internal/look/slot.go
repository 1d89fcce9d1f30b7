package look

import (
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/clock"
)

// Slot is a key set aside for one entry of ours. Keys are used again, because a
// deleted key leaves a tombstone that every read of its range visits until
// compaction; but only after the entry is gone for certain and nothing can bring it
// back. Until then the slot is in doubt, and every look removes what it finds there.
type Slot struct {
	list *List
	key  string

	// The fields below are protected by the list's mu.

	// doubtful is set once the slot was given back with its entry unsettled.
	doubtful bool
	// created is the create revision of the entry whose removal is not confirmed,
	// 0 if there is none.
	created int64
	// puts counts puts without an answer, which may take effect however late, and values
	// is what they put, nil for anything.
	puts   int
	values []string
	// pins counts deletions by value under way, which would also delete the next entry if that
	// has the same value.
	pins  int
	since clock.Instant // when it came into doubt
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
// given number of puts may still arrive, of one of the values; of any if there are none.
func (l *List) Suspect(key string, unsettled int, values ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slots[key] = &Slot{list: l, key: key, doubtful: true, puts: unsettled, values: values, since: clock.Now()}
}

// Stale returns for how many keys it has not been known for at least so long whether they
// are in etcd, and how many others are in use.
func (l *List) Stale(age time.Duration) (stale, used int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := clock.Now()
	for _, s := range l.slots {
		switch {
		case !s.doubtful:
			used++
		case now.Sub(s.since) >= age:
			stale++
		}
	}
	return stale, used
}

// Settled reports whether nobody uses the list: what is on it are keys in doubt, if any,
// which the end of the lease settles.
func (l *List) Settled() bool {
	_, used := l.Stale(0)
	l.mu.Lock()
	defer l.mu.Unlock()
	return used == 0 && len(l.items) == 0 && l.removals == 0
}

// Reclaim takes key out of doubt, for a user who puts it again and from now on
// answers for what may still arrive: looks would remove the new entry with the old.
// It returns how many puts are unsettled, and of what values. A look that is under way
// may remove what it has found, so that has to be put anew, not taken over.
func (l *List) Reclaim(key string) (unsettled int, values []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slots[key]
	if s == nil || !s.doubtful {
		return 0, nil
	}
	delete(l.slots, key)
	return s.puts, s.values
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

// Unsettle gives the slot back when its entry, of create revision created (0: none that
// we know of), may still be there, or one of the given number of puts of value without an
// answer may bring one. If neither can be, the slot is free. What is removed is removed
// together with what the given operations remove.
func (s *Slot) Unsettle(created int64, puts int, value string, with ...clientv3.Op) {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	s.doubtful, s.created, s.puts = true, created, puts
	if s.freeIfSettled() {
		return
	}
	s.values, s.with, s.since = []string{value}, with, clock.Now()
}

// Removed notes that the entry of the given create revision does not exist any more, or,
// for 0, that one which a put without an answer had made has just been deleted. The slot
// must have been given back.
func (s *Slot) Removed(created int64) {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	switch created {
	case 0:
		s.puts--
	case s.created:
		s.created = 0
	}
	s.freeIfSettled()
}

// Pin keeps the slot from being free, whatever looks find, until Unpin: while a deletion by value
// is under way.
func (s *Slot) Pin() {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	s.pins++
}

// Unpin undoes a Pin. The slot must have been given back.
func (s *Slot) Unpin() {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	s.pins--
	s.freeIfSettled()
}

// freeIfSettled forgets the slot once nothing can be under its key any more, and reports
// whether that is so. The list's mu must be held.
func (s *Slot) freeIfSettled() bool {
	if s.created != 0 || s.puts > 0 || s.pins > 0 {
		return false
	}
	if s.list.slots[s.key] == s {
		delete(s.list.slots, s.key)
	}
	return true
}

// current reports whether the slot is still the one that is in doubt under its key:
// else what a look found there may be the entry of its next user.
func (s *Slot) current() bool {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	return s.doubtful && s.list.slots[s.key] == s
}

// has reports whether kv is an entry that the slot is in doubt about, and not what
// somebody else has put under the key. An entry whose revision is known is it whatever an
// operator has put into it since.
func (s *Slot) has(kv *mvccpb.KeyValue, lease clientv3.LeaseID) bool {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	switch {
	case kv == nil:
		return false
	case kv.CreateRevision == s.created:
		return true
	}
	return clientv3.LeaseID(kv.Lease) == lease && (s.values == nil || slices.Contains(s.values, string(kv.Value)))
}

// notFound notes that the key did not exist at revision rev. That proves nothing about
// puts without an answer.
func (s *Slot) notFound(rev int64) {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	if rev >= s.created {
		s.created = 0
		s.freeIfSettled()
	}
}

// deleted notes that a look has deleted the entry of the given create revision.
func (s *Slot) deleted(created int64) {
	s.list.mu.Lock()
	own := created == s.created
	s.list.mu.Unlock()
	if own {
		s.Removed(created)
	} else {
		s.Removed(0)
	}
}
