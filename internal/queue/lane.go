package queue

import (
	"fmt"
	"strconv"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Lane is one line that an acquisition stands in: where its key goes, which entries it
// looks at, and of which kind it is.
type Lane struct {
	// prefix is what the keys of the lane's own entries begin with.
	prefix string
	// behind is what the keys of the entries begin with that are waited for.
	behind string
	// suffix ends the own key.
	suffix string
	// kind says which of the entries before it an entry waits for.
	kind kind
	// sole is set if an entry that was put again does not own alone any more.
	sole bool
	// newest reads the newest entries of behind together with the put of the own: that and
	// few others. It is made once because options cost as much as a request's encoding.
	newest clientv3.Op
	// dissent are the ranges of entries that count with other permits.
	dissent []span
	// permits is how many there are in a weighted lane, 0 in others.
	permits int
}

// Exclusive is the lane of entries under prefix of which the oldest owns.
func Exclusive(prefix string) Lane {
	return Lane{prefix: prefix, behind: prefix, kind: behindAll{}}.ready()
}

// Writer is the lane of those who wait for every entry under prefix.
func Writer(prefix string) Lane {
	return Lane{prefix: prefix + writers, behind: prefix, kind: behindAll{}, sole: true}.ready()
}

// Reader is the lane of those who wait for the writers under prefix. A writer that
// was put again has become a reader. There can be one such at most, the oldest of
// the writers, since the next is granted when it is gone; so the newest writer before
// a reader always tells whether any is in its way.
func Reader(prefix string) Lane {
	return Lane{prefix: prefix + readers, behind: prefix + writers, kind: behindWriters{}}.ready()
}

const (
	writers = "w/"
	readers = "r/"
)

// IsWriter reports whether key is one of a writer under prefix.
func IsWriter(prefix, key string) bool { return strings.HasPrefix(key, prefix+writers) }

// Weighted is the lane of entries under prefix of which the oldest own, as many as
// have a weight of permits together. Permits and weight are part of the key: so they can
// be read without values, and an entry is only put while no other counts differently.
func Weighted(prefix string, weight, permits int) Lane {
	own := prefix + strconv.Itoa(permits) + "/"
	l := Lane{
		prefix: own, behind: own, suffix: "~" + strconv.Itoa(weight), permits: permits,
		kind: untilItFits{behind: own, weight: weight, permits: permits},
	}.ready()
	l.dissent = []span{{prefix, own}, {clientv3.GetPrefixRangeEnd(own), clientv3.GetPrefixRangeEnd(prefix)}}
	return l
}

// span is a range of keys, without its end.
type span struct{ from, to string }

// Weight returns what the key of a weighted lane's entry says about its weight, 1 if it
// does not, and about the permits that its owner counts with, 0 if it does not.
func Weight(key string) (weight, permits int) {
	dir, entry := cutLast(key, "/")
	_, count := cutLast(dir, "/")
	_, suffix := cutLast(entry, "~")
	permits, err := strconv.Atoi(count)
	if err != nil {
		permits = 0
	}
	weight, err = strconv.Atoi(suffix)
	if err != nil || weight < 1 {
		weight = 1
	}
	return weight, permits
}

func cutLast(s, sep string) (before, after string) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+len(sep):]
}

// key returns the key of the lease's entry in the given slot.
func (l Lane) key(id clientv3.LeaseID) func(slot int) string {
	return func(slot int) string {
		if slot == 0 { // as clientv3/concurrency would call it
			return l.prefix + strconv.FormatInt(int64(id), 16) + l.suffix
		}
		return fmt.Sprintf("%s%x-%d%s", l.prefix, int64(id), slot, l.suffix)
	}
}

func (l Lane) ready() Lane {
	l.newest = clientv3.OpGet(l.behind, some(clientv3.WithLastCreate(), few+1)...)
	return l
}

func some(of []clientv3.OpOption, n int64, how ...clientv3.OpOption) []clientv3.OpOption {
	return append(append(of, clientv3.WithPrefix(), clientv3.WithLimit(n), clientv3.WithKeysOnly()), how...)
}

// queued appends to the operations that put an entry the reads that tell whom it waits for.
func (l Lane) queued(ops []clientv3.Op) []clientv3.Op {
	return append(append(ops, l.newest), l.kind.reads()...)
}

// older returns the reads that tell whom an entry waits for that was created at the
// given revision.
func (l Lane) older(created int64, how ...clientv3.OpOption) []clientv3.Op {
	how = append(how, clientv3.WithMaxCreateRev(created-1))
	newest := clientv3.OpGet(l.behind, some(clientv3.WithLastCreate(), few, how...)...)
	return append([]clientv3.Op{newest}, l.kind.reads(how...)...)
}

// before finds in the answers to those reads, of revision seen, whom the entry waits for
// that was created at revision created, and returns the answers that are left.
func (l Lane) before(answers []*pb.ResponseOp, created, seen int64) (p position, left []*pb.ResponseOp) {
	more, left := answers[1:1+l.kind.count()], answers[1+l.kind.count():]
	newest := before(answers[0].GetResponseRange().Kvs, created)
	if len(newest) == 0 {
		return position{}, left
	}
	p = l.kind.predecessor(newest[0], all(more), created, seen)
	// More than few are older if the own entry is not among what was read.
	if l.ordered() && !answers[0].GetResponseRange().More && len(newest) <= few {
		p.known = true
		for i, kv := range newest[1:] {
			p.older[i] = identityOf(kv)
		}
	}
	return p, left
}

// ordered reports whether every entry of the lane waits for each one that is older, and
// nobody else.
func (l Lane) ordered() bool {
	_, all := l.kind.(behindAll)
	return all && l.prefix == l.behind
}

// watch returns the options of a watch on p.
func (l Lane) watch(p position) []clientv3.OpOption {
	opts := []clientv3.OpOption{clientv3.WithCreatedNotify()}
	if p.whole {
		opts = append(opts, clientv3.WithPrefix())
	}
	if p.whole || !l.kind.heedsPuts() {
		opts = append(opts, clientv3.WithFilterPut())
	}
	return opts
}

// free returns the condition under which an entry put now would own. In a weighted lane no
// condition tells: see tryWeighted.
func (l Lane) free() clientv3.Cmp { return l.kind.free(l.behind) }

// hasOwn reports whether the lane's own entries are among those that are waited for.
func (l Lane) hasOwn() bool { return strings.HasPrefix(l.prefix, l.behind) }

// PermitsError says that an entry of a weighted lane counts with other permits.
type PermitsError struct {
	// Key is the entry's.
	Key string
	// Permits is how many it counts with.
	Permits int
}

// Error names the entry and its permits.
func (e *PermitsError) Error() string {
	return fmt.Sprintf("entry %q counts with %d permits", e.Key, e.Permits)
}

// agreed returns the conditions that nobody counts with other permits, and the reads
// that find who does.
func (l Lane) agreed() (conds []clientv3.Cmp, reads []clientv3.Op) {
	for _, s := range l.dissent {
		conds = append(conds, clientv3.Compare(clientv3.CreateRevision(s.from), "=", 0).WithRange(s.to))
		reads = append(reads, clientv3.OpGet(s.from, clientv3.WithRange(s.to), clientv3.WithLimit(1), clientv3.WithKeysOnly()))
	}
	return conds, reads
}

// dissented returns the error of a transaction whose reads found an entry that counts
// with other permits, nil if they found none.
func dissented(answers []*pb.ResponseOp) error {
	for _, kv := range all(answers) {
		_, permits := Weight(string(kv.Key))
		return &PermitsError{string(kv.Key), permits}
	}
	return nil
}

// weigh returns the weight of an entry.
func weigh(kv *mvccpb.KeyValue) int {
	weight, _ := Weight(string(kv.Key))
	return weight
}

// weight returns how much of a weighted lane's permits an entry of it takes.
func (l Lane) weight() int {
	weight, _ := Weight("/" + l.suffix)
	return weight
}

// before returns those of kvs, the newest first, that were created before the given revision.
func before(kvs []*mvccpb.KeyValue, created int64) []*mvccpb.KeyValue {
	for i, kv := range kvs {
		if kv.CreateRevision < created {
			return kvs[i:]
		}
	}
	return nil
}

// few is how many older entries an entry of an ordered lane knows by name, if there are not
// more, so that it need not ask for the queue when they have gone. Each release is
// delivered to as many waiters.
const few = 2
