package queue

import (
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// kind is what makes one kind of lane different from another:
//
//	kind           waits for                      finds out by
//	behindAll      every older entry              the newest older entry
//	behindWriters  older writers                  the newest older writer, unless it was put again
//	untilItFits    older entries, until the sum   the newest older entry, and the oldest entries,
//	               of weights leaves room         whose weights it adds up
type kind interface {
	// reads returns what is read besides the newest older entry to find out whom an entry
	// waits for, and count how many reads that are.
	reads(how ...clientv3.OpOption) []clientv3.Op
	count() int
	// predecessor says whom an entry of revision created waits for, as of revision seen:
	// newest is the newest older entry, and more what the other reads have found.
	predecessor(newest *mvccpb.KeyValue, more []*mvccpb.KeyValue, created, seen int64) position
	// over reports whether the entry at p, found as kv, is not waited for any more.
	over(p position, kv *mvccpb.KeyValue) bool
	// worthCheck reports whether it is worth to find out, after a look has found the key of
	// p as kv.
	worthCheck(p position, kv *mvccpb.KeyValue) bool
	// heedsPuts reports whether a put of the predecessor can end the wait for it.
	heedsPuts() bool
	// free returns the condition on the entries under behind under which one that is put
	// now would own.
	free(behind string) clientv3.Cmp
}

// behindAll is the kind of mutexes, elections and writers.
type behindAll struct{}

func (behindAll) reads(...clientv3.OpOption) []clientv3.Op { return nil }
func (behindAll) count() int                               { return 0 }
func (behindAll) heedsPuts() bool                          { return false }

func (behindAll) predecessor(newest *mvccpb.KeyValue, _ []*mvccpb.KeyValue, _, seen int64) position {
	return at(newest, seen)
}

func (behindAll) over(p position, kv *mvccpb.KeyValue) bool { return !p.is(kv) }

func (k behindAll) worthCheck(p position, kv *mvccpb.KeyValue) bool { return k.over(p, kv) }

func (behindAll) free(behind string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(behind), "=", 0).WithPrefix()
}

// behindWriters is the kind of readers.
type behindWriters struct{}

func (behindWriters) reads(...clientv3.OpOption) []clientv3.Op { return nil }
func (behindWriters) count() int                               { return 0 }
func (behindWriters) heedsPuts() bool                          { return true }

func (behindWriters) predecessor(newest *mvccpb.KeyValue, _ []*mvccpb.KeyValue, _, seen int64) position {
	if newest.Version > 1 {
		return position{}
	}
	return at(newest, seen)
}

func (behindWriters) over(p position, kv *mvccpb.KeyValue) bool { return !p.is(kv) || kv.Version > 1 }

func (k behindWriters) worthCheck(p position, kv *mvccpb.KeyValue) bool { return k.over(p, kv) }

func (behindWriters) free(behind string) clientv3.Cmp {
	return clientv3.Compare(clientv3.Version(behind), "!=", 1).WithPrefix()
}

// untilItFits is the kind of semaphores.
type untilItFits struct {
	behind          string
	weight, permits int
}

// reads reads the oldest entries: one more than there can be owners.
func (k untilItFits) reads(how ...clientv3.OpOption) []clientv3.Op {
	return []clientv3.Op{clientv3.OpGet(k.behind, some(clientv3.WithFirstCreate(), int64(k.permits)+1, how...)...)}
}

func (untilItFits) count() int      { return 1 }
func (untilItFits) heedsPuts() bool { return true } // an owner is put again when it comes to own

// predecessor adds up the oldest entries. An entry that does not fit waits for any to go
// if those before it are owners, and else for its predecessor to become one.
func (k untilItFits) predecessor(newest *mvccpb.KeyValue, oldest []*mvccpb.KeyValue, created, seen int64) position {
	sum := 0
	for _, kv := range oldest {
		if kv.CreateRevision >= created {
			break
		}
		sum += weigh(kv)
		if sum > k.permits {
			return at(newest, seen)
		}
	}
	if excess := sum + k.weight - k.permits; excess > 0 {
		return position{key: k.behind, created: created, seen: seen, whole: true, excess: excess, last: identityOf(newest)}
	}
	return position{}
}

func (untilItFits) over(p position, kv *mvccpb.KeyValue) bool { return !p.is(kv) || kv.Version > 1 }

// worthCheck is true: an owner may have been kept from saying that it is one, and which
// entries own a look at one key does not show.
func (untilItFits) worthCheck(position, *mvccpb.KeyValue) bool { return true }

func (untilItFits) free(behind string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(behind), "=", 0).WithPrefix()
}

// position is an entry that another waits for, as it was at revision seen. With known set
// older are all that were older than it, the newest first, and so nothing else ever will be.
// With whole set it stands for every entry of the lane: whichever is deleted, that may be
// the other's turn, once the deleted ones have given back excess permits; last is then the
// newest of them.
type position struct {
	key     string
	created int64
	seen    int64
	known   bool
	older   [few - 1]identity
	whole   bool
	excess  int
	last    identity
}

// identity tells an entry from all others.
type identity struct {
	key     string
	created int64
}

func identityOf(kv *mvccpb.KeyValue) identity { return identity{string(kv.Key), kv.CreateRevision} }

// unknownRevision stands for a predecessor that has yet to be looked up.
const unknownRevision = -1

func at(kv *mvccpb.KeyValue, seen int64) position {
	return position{key: string(kv.Key), created: kv.CreateRevision, seen: seen}
}

func (p position) exists() bool { return p.created != 0 }

// entry returns the entry that is waited for, for people: of a whole lane the newest, since all
// that are older have to be waited for just as well.
func (p position) entry() identity {
	if p.whole {
		return p.last
	}
	return identity{p.key, p.created}
}

// same reports whether p and other are to be waited for alike, whenever seen.
func (p position) same(other position) bool {
	p.seen, p.excess, p.known, p.older, p.last = other.seen, other.excess, other.known, other.older, other.last
	return p == other
}

// others returns what is known to be older than the entry at p.
func (p position) others() []identity {
	n := 0
	for n < len(p.older) && p.older[n].created != 0 {
		n++
	}
	return p.older[:n]
}

// is reports whether kv is the entry.
func (id identity) is(kv *mvccpb.KeyValue) bool { return kv != nil && kv.CreateRevision == id.created }

// is reports whether kv is the entry at p.
func (p position) is(kv *mvccpb.KeyValue) bool { return kv != nil && kv.CreateRevision == p.created }

// endedBy reports whether an event at the key of the leg's predecessor ends the wait for
// it. Of a whole lane enough has to be given back; entries that own nothing are counted,
// too, which costs a check.
func (g *leg) endedBy(kv *mvccpb.KeyValue) bool {
	g.before.excess -= weigh(kv)
	return !g.before.whole || g.before.excess <= 0
}
