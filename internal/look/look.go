package look

import (
	"context"
	"errors"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/clock"
)

const (
	// defaultMaxOps is how many operations a server takes in one transaction
	// unless it is told otherwise.
	defaultMaxOps = 128
	// fewEntries is how many entries at least are compared: conditions, and the read beside
	// them, are longer than the answers about fewer.
	fewEntries = 3
	// apartFor is for how long a key that could not be read is read after all others.
	apartFor = time.Minute
	// probeKey is read when there is nothing to look at; it need not exist.
	probeKey = "conclave"
)

// Look is one pass over a list, a step at a time. It belongs to one goroutine. Entries that
// somebody expects are compared, many in one transaction, whose answer is a few bytes if all
// are there. The other keys are read, in the same transactions, and so are those of a
// comparison that has failed.
type Look struct {
	list     *List
	client   *clientv3.Client
	lease    clientv3.LeaseID
	probed   bool
	expected []finding // to be compared
	left     []finding // to be read
	found    []orphan  // entries in doubt, to be removed
	most     int       // how many a step looks at, once one was refused for one of its keys; 0 before
	header   *pb.ResponseHeader
	// patience is how long a request is waited for before another is made beside it; 0
	// is for ever.
	patience time.Duration
}

// finding is who wants to know about a key.
type finding struct {
	key     string
	items   []*Item
	created int64 // if set, they want to know only whether this entry is there
	slot    *Slot // set if the key is in doubt
	apart   bool  // the server has refused to read it: it is read alone, after all others
}

// Begin starts a look at what is on the list now.
func (l *List) Begin(client *clientv3.Client, lease clientv3.LeaseID) *Look {
	k := &Look{list: l, client: client, lease: lease}
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]finding, 0, len(l.items))
	byKey := make(map[string]int, len(l.items))
	add := func(key string, created int64) *finding {
		i, ok := byKey[key]
		if !ok {
			i = len(all)
			byKey[key] = i
			since, apart := l.apart[key]
			apart = apart && clock.Now().Sub(since) < apartFor
			all = append(all, finding{key: key, created: created, apart: apart})
		}
		if all[i].created != created {
			all[i].created = 0
		}
		return &all[i]
	}
	for it := range l.items {
		f := add(it.key, it.expects())
		f.items = append(f.items, it)
	}
	for key, s := range l.slots {
		if s.doubtful {
			add(key, 0).slot = s
		}
	}
	k.sort(all)
	k.probed = len(all) > 0
	return k
}

// sort says what is compared and what is read.
func (k *Look) sort(all []finding) {
	var apart []finding
	for _, f := range all {
		switch {
		case f.apart:
			apart = append(apart, f)
		case f.created > 0:
			k.expected = append(k.expected, f)
		default:
			k.left = append(k.left, f)
		}
	}
	if len(k.left) == 0 && len(k.expected) < fewEntries {
		k.expected, k.left = nil, k.expected
	}
	k.left = append(k.left, apart...)
}

// next returns what one transaction compares and reads.
func (k *Look) next() (expected, left []finding) {
	most := k.list.batch()
	if k.most > 0 {
		most = min(most, k.most)
	}
	expected, left = k.expected[:min(len(k.expected), most)], k.left[:min(len(k.left), most)]
	switch i := slices.IndexFunc(left, func(f finding) bool { return f.apart }); {
	case i == 0 && len(expected) == 0:
		left = left[:1]
	case i >= 0:
		left = left[:i]
	}
	return expected, left
}

// Done reports whether everything has been looked at, and what was found in doubt has
// been removed. It is false at first: a look at an empty list is a linearizable read all
// the same.
func (k *Look) Done() bool {
	return len(k.expected) == 0 && len(k.left) == 0 && !k.Found() && k.probed
}

// Found reports whether there are entries in doubt that Next removes.
func (k *Look) Found() bool { return len(k.found) > 0 }

// Answer returns which cluster has answered last, and the revision of its store: both 0
// if that is not known.
func (k *Look) Answer() (cluster uint64, rev int64) {
	return k.header.GetClusterId(), k.header.GetRevision()
}

// Next goes on after the first step: it removes entries in doubt that have turned up, or
// makes another step, whose requests are repeated until ctx ends, beside those that are
// not answered for as long as patience.
func (k *Look) Next(ctx context.Context, patience time.Duration) error {
	if k.Found() {
		k.settle(ctx, patience)
		return nil
	}
	k.patience = patience
	_, err := k.Step(ctx)
	return err
}

// txn makes a request that reads what is left if what is expected is there. Without a
// linearizable read in both branches the answer would be of any age.
func (k *Look) txn(ctx context.Context, expected, left []finding) (*clientv3.TxnResponse, error) {
	conds, then := conditions(expected), gets(left)
	var otherwise []clientv3.Op
	if len(expected) > 0 {
		otherwise = []clientv3.Op{clientv3.OpGet(expected[0].key, clientv3.WithCountOnly())}
	}
	if len(left) == 0 {
		then = otherwise
	}
	read := func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return k.client.Txn(ctx).If(conds...).Then(then...).Else(otherwise...).Commit()
	}
	if k.patience == 0 {
		return read(ctx)
	}
	return attempt.Hedge(ctx, attempt.Limits{Patience: k.patience}, read)
}

// Step looks at the next keys with a linearizable transaction and tells their judges. It
// returns the raft term of the answer; the state is at least as new as the moment of the call.
// A step that fails can be repeated.
func (k *Look) Step(ctx context.Context) (term uint64, err error) {
	expected, left := k.next()
	n := len(expected) + len(left)
	if n == 0 {
		k.header, err = k.list.probe(ctx, k.client)
		k.probed = err == nil
		return k.header.GetRaftTerm(), err
	}
	resp, err := k.txn(ctx, expected, left)
	switch {
	case refusesKey(err) && n == 1:
		return k.setApart(ctx, slices.Concat(expected, left)[0])
	case refusesKey(err): // one of them, which smaller steps find
		k.most = n / 2
		k.expected, k.left = k.expected[len(expected):], slices.Concat(expected, k.left)
		return k.Step(ctx)
	case err != nil:
		return 0, k.refused(err)
	}
	k.most *= 2
	k.answered(resp, expected, left)
	return resp.Header.RaftTerm, nil
}

// answered tells what a step has found: if not all that are expected are there, nothing was
// read.
func (k *Look) answered(resp *clientv3.TxnResponse, expected, left []finding) {
	k.header, k.expected = resp.Header, k.expected[len(expected):]
	if !resp.Succeeded {
		k.list.distrust(expected)
		k.left = slices.Concat(expected, k.left)
		return
	}
	k.left = k.left[len(left):]
	k.found = append(k.found, k.tell(left, resp)...)
	if len(left) == 1 {
		k.list.rejoin(left[0].key)
	}
}

// refusesKey reports whether a key is why a request has failed: one that a role may only
// write, or that is too large for the client.
func refusesKey(err error) bool {
	return attempt.Code(err) == codes.PermissionDenied || attempt.TooLarge(err) && !errors.Is(err, rpctypes.ErrRequestTooLarge)
}

// setApart gives up on a key that cannot be read, and so not be judged. The others, and the
// lease, need not suffer: from now on it is read alone, when all others have been.
func (k *Look) setApart(ctx context.Context, f finding) (term uint64, err error) {
	header, err := k.list.probe(ctx, k.client)
	if err != nil {
		return 0, err
	}
	k.list.part(f.key)
	k.header = header
	if len(k.expected) > 0 {
		k.expected = k.expected[1:]
	} else {
		k.left = k.left[1:]
	}
	return header.GetRaftTerm(), nil
}

// conditions are those under which entries are there.
func conditions(expected []finding) []clientv3.Cmp {
	conds := make([]clientv3.Cmp, len(expected))
	for i, f := range expected {
		conds[i] = clientv3.Compare(clientv3.CreateRevision(f.key), "=", f.created)
	}
	return conds
}

// refused returns why a request has failed, and makes the next smaller if it was too large.
func (k *Look) refused(err error) error {
	if errors.Is(err, rpctypes.ErrTooManyOps) || errors.Is(err, rpctypes.ErrRequestTooLarge) {
		k.list.shrink()
	}
	return err
}

// Term returns the raft term of a linearizable read that looks at nobody's key.
func (k *Look) Term(ctx context.Context) (term uint64, err error) {
	header, err := k.list.probe(ctx, k.client)
	return header.GetRaftTerm(), err
}

func gets(batch []finding) []clientv3.Op {
	ops := make([]clientv3.Op, len(batch))
	for i, f := range batch {
		if f.slot == nil {
			ops[i] = clientv3.OpGet(f.key, clientv3.WithKeysOnly())
		} else { // the value and the lease tell whose it is
			ops[i] = clientv3.OpGet(f.key)
		}
	}
	return ops
}

// tell reports a reply to the judges and returns the entries in doubt that exist.
// What another lease has put under a key in doubt is not ours to remove.
func (k *Look) tell(batch []finding, resp *clientv3.TxnResponse) (found []orphan) {
	k.list.telling.Lock() // looks may overlap
	defer k.list.telling.Unlock()
	rev := resp.Header.Revision
	for i, f := range batch {
		var kv *mvccpb.KeyValue
		if kvs := resp.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
			kv = kvs[0]
		}
		for _, it := range f.items {
			it.tell(kv, rev)
		}
		switch {
		case f.slot == nil || !f.slot.current():
		case !f.slot.has(kv, k.lease):
			f.slot.notFound(rev)
		default:
			found = append(found, orphan{f.slot, kv.CreateRevision, kv.ModRevision})
		}
	}
	return found
}

// orphan is an entry in doubt that a look has found.
type orphan struct {
	slot              *Slot
	created, modified int64
}

// opsPerOrphan is how many operations the removal of one takes at most: the nested
// transaction, the deletion, and another transaction with the deletion of its mark.
const opsPerOrphan = 4

// settleTimes is for how many times the patience a removal is waited for: it is not
// repeated, since of two removals one would find nothing, and not know why.
const settleTimes = 3

// settle removes orphans, each guarded by its revisions: a user of the key may have put it
// since, see Reclaim. What fails is found again by the next look.
func (k *Look) settle(ctx context.Context, patience time.Duration) {
	// The server allows as many operations in all levels together.
	batch := k.found[:min(len(k.found), max(k.list.batch()/opsPerOrphan, 1))]
	k.found = k.found[len(batch):]
	ops := make([]clientv3.Op, len(batch))
	for i, o := range batch {
		ops[i] = clientv3.OpTxn(
			[]clientv3.Cmp{
				clientv3.Compare(clientv3.CreateRevision(o.slot.key), "=", o.created),
				clientv3.Compare(clientv3.ModRevision(o.slot.key), "=", o.modified),
			},
			append([]clientv3.Op{clientv3.OpDelete(o.slot.key)}, o.slot.with...), nil)
	}
	_ = attempt.Once(ctx, settleTimes*patience, func(ctx context.Context) error {
		resp, err := k.client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return err
		}
		for i, o := range batch {
			if resp.Responses[i].GetResponseTxn().Succeeded {
				o.slot.deleted(o.created)
			}
		}
		return nil
	})
}

// batch returns how many keys one transaction may read.
func (l *List) batch() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.maxOps
}

// shrink halves the batch, for servers with a lower limit than the default.
func (l *List) shrink() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.maxOps = max(l.maxOps/2, 1)
}

// part has a key read alone for a while, and rejoin with the others again.
func (l *List) part(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.apart[key] = clock.Now()
}

func (l *List) rejoin(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.apart, key)
}

// probe makes a linearizable read without a key of anybody's.
func (l *List) probe(ctx context.Context, client *clientv3.Client) (*pb.ResponseHeader, error) {
	if l.probeDenied() {
		return members(ctx, client)
	}
	resp, err := client.Txn(ctx).Then(clientv3.OpGet(probeKey, clientv3.WithCountOnly())).Commit()
	if attempt.Code(err) == codes.PermissionDenied {
		l.denyProbe()
		return members(ctx, client)
	}
	if err != nil {
		return nil, err
	}
	return resp.Header, nil
}

// members asks for the member list, which every authenticated user may read and
// which is linearizable from etcd 3.5 on. On 3.4 it is answered locally: there a
// role restricted to a prefix leaves renewals unconfirmed while nothing is held.
func members(ctx context.Context, client *clientv3.Client) (*pb.ResponseHeader, error) {
	resp, err := client.MemberList(ctx)
	if err != nil {
		return nil, err
	}
	return resp.Header, nil
}

func (l *List) probeDenied() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.denied
}

func (l *List) denyProbe() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denied = true
}
