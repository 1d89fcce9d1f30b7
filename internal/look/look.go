package look

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/conclave-go/conclave/internal/attempt"
)

const (
	// defaultMaxOps is how many operations a server takes in one transaction
	// unless it is told otherwise.
	defaultMaxOps = 128
	// fewEntries is how many entries at least are compared: conditions, and the read beside
	// them, are longer than the answers about fewer.
	fewEntries = 3
	// maxRefusals is how many refusals a look puts up with: of keys that earlier looks could
	// not read, and of removals.
	maxRefusals = 16
)

// Look is one pass over a list, a step at a time. It belongs to one goroutine. Entries that
// somebody expects are compared, many in one transaction, whose answer is a few bytes if all
// are there. The other keys are read, in the same transactions, and so are those of a
// comparison that has failed. Keys of a step that was refused for one of them are set apart.
type Look struct {
	list     *List
	client   *clientv3.Client
	lease    clientv3.LeaseID
	expected []finding // to be compared
	left     []finding // to be read
	missed   int       // how many of left come before any comparison
	apart    []finding // to be read apart from the others, few at a time
	tried    bool      // whether some of apart have been tried
	refusals int       // see maxRefusals
	found    []orphan  // entries in doubt, to be removed
	singly   bool      // what is found is removed one by one
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
	missed  bool  // a comparison has not found it there
	slot    *Slot // set if the key is in doubt
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
			all = append(all, finding{key: key, created: created})
		}
		if all[i].created != created {
			all[i].created = 0
		}
		return &all[i]
	}
	for it := range l.items {
		f := add(it.key, it.expects())
		f.items = append(f.items, it)
		f.missed = f.missed || it.missed
	}
	for key, s := range l.slots {
		if s.doubtful {
			add(key, 0).slot = s
		}
	}
	maps.DeleteFunc(l.apart, func(key string, _ int) bool {
		_, ok := byKey[key]
		return !ok
	})
	k.sort(all)
	return k
}

// sort says what is compared and what is read. The list's mu must be held.
func (k *Look) sort(all []finding) {
	var missed []finding
	for _, f := range all {
		_, apart := k.list.apart[f.key]
		switch {
		case apart:
			k.apart = append(k.apart, f)
		case f.missed:
			missed = append(missed, f)
		case f.created > 0:
			k.expected = append(k.expected, f)
		default:
			k.left = append(k.left, f)
		}
	}
	k.left, k.missed = slices.Concat(missed, k.left), len(missed)
	if len(k.left) == 0 && len(k.expected) < fewEntries {
		k.expected, k.left = nil, k.expected
	}
	slices.SortFunc(k.apart, func(a, b finding) int { return cmp.Compare(k.list.apart[a.key], k.list.apart[b.key]) })
}

// next returns what one transaction compares and reads. Beside what a comparison has missed
// there is no other, which might fail, too.
func (k *Look) next() (expected, left []finding) {
	most := k.list.batch()
	expected, left = k.expected[:min(len(k.expected), most)], k.left[:min(len(k.left), most)]
	if k.missed > 0 {
		expected = nil
	}
	return expected, left
}

// Done reports whether everything has been looked at, and what was found in doubt has
// been removed. It is false at first: a look at an empty list is a linearizable read all
// the same.
func (k *Look) Done() bool {
	return len(k.expected) == 0 && len(k.left) == 0 && len(k.apart) == 0 && len(k.found) == 0 && k.header != nil
}

// Urgent reports whether Next has something to do that should not be left to the next look,
// which may have no more time than this one: it reads what a comparison has missed, removes
// entries in doubt, or tries to read some of the keys that were set apart.
func (k *Look) Urgent() bool {
	return len(k.found) > 0 || k.missed > 0 || len(k.apart) > 0 && !k.tried
}

// Answer returns which cluster has answered last, and the revision of its store: 0 if that
// is not known.
func (k *Look) Answer() (cluster uint64, rev int64) {
	return k.header.GetClusterId(), k.header.GetRevision()
}

// Next goes on after the first step, with what is urgent first: it removes entries in doubt
// that have turned up, or makes another step, whose requests are repeated until ctx ends,
// beside those that are not answered for as long as patience.
func (k *Look) Next(ctx context.Context, patience time.Duration) error {
	if len(k.found) > 0 && k.missed == 0 {
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
// If it is refused for one of its keys, all of them are set apart, and the first step makes
// another read instead. A step that fails can be repeated.
func (k *Look) Step(ctx context.Context) (term uint64, err error) {
	expected, left := k.next()
	others := len(expected)+len(left) > 0
	switch {
	case k.header != nil && k.missed == 0 && len(k.apart) > 0 && (!k.tried || !others):
		return k.stepApart(ctx)
	case !others:
		return k.confirm(ctx)
	}
	resp, err := k.txn(ctx, expected, left)
	switch {
	case refusesKey(err):
		k.setApart(slices.Concat(expected, left))
		k.expected = k.expected[len(expected):]
		k.read(len(left))
		return k.confirm(ctx)
	case err != nil:
		return 0, k.failed(err, max(len(expected), len(left)))
	}
	k.list.couldRead(expected)
	k.header, k.expected = resp.Header, k.expected[len(expected):]
	if !resp.Succeeded { // nothing was read
		k.list.distrust(expected)
		k.left, k.missed = slices.Concat(expected, k.left), len(expected)
		return resp.Header.RaftTerm, nil
	}
	k.read(len(left))
	k.tell(left, resp)
	return resp.Header.RaftTerm, nil
}

// read notes that the first n of left are done with.
func (k *Look) read(n int) {
	k.left, k.missed = k.left[n:], max(k.missed-n, 0)
}

// confirm returns the raft term of the last answer. If there is none, the first step has no
// keys that could be read, and probes instead.
func (k *Look) confirm(ctx context.Context) (term uint64, err error) {
	if k.header == nil {
		k.header, err = k.list.probe(ctx, k.client)
	}
	return k.header.GetRaftTerm(), err
}

// refusesKey reports whether its keys are why a request has failed: a role may only write one,
// or their values are too large for the client.
func refusesKey(err error) bool {
	return attempt.Code(err) == codes.PermissionDenied || attempt.TooLarge(err) && !errors.Is(err, rpctypes.ErrRequestTooLarge)
}

// setApart gives up on a step that was refused for one of its keys. The other keys, and the
// lease, need not suffer: from now on all of them are read apart, and those with which that
// succeeds are then looked at as before.
func (k *Look) setApart(keys []finding) {
	if len(keys) == 1 { // it has just been tried alone
		k.list.refuses(keys)
		return
	}
	k.list.setApart(keys)
	k.apart = slices.Concat(keys, k.apart)
}

// stepApart reads some of the keys that were set apart, those first that were tried least
// recently: twice as many as it last could, or half as many as it could not. A look does so
// once when it has an answer to something else, and again when all others have been read.
func (k *Look) stepApart(ctx context.Context) (term uint64, err error) {
	keys := k.apart[:min(len(k.apart), k.list.few(), k.list.batch())]
	k.tried = true
	resp, err := k.txn(ctx, nil, keys)
	switch {
	case refusesKey(err):
		if k.list.refuses(keys) {
			k.refusals++
		}
		if len(keys) == 1 {
			k.apart = k.apart[1:]
		}
		if k.refusals >= maxRefusals {
			k.apart = nil
		}
		return k.confirm(ctx)
	case err != nil:
		return 0, k.failed(err, len(keys))
	}
	k.list.putBack(keys)
	k.header, k.apart = resp.Header, k.apart[len(keys):]
	k.tell(keys, resp)
	return resp.Header.RaftTerm, nil
}

// failed returns why a request for n keys has failed, and makes the next smaller if it was
// too large.
func (k *Look) failed(err error, n int) error {
	if errors.Is(err, rpctypes.ErrTooManyOps) || errors.Is(err, rpctypes.ErrRequestTooLarge) {
		k.list.shrink(n)
	}
	return err
}

// conditions are those under which entries are there.
func conditions(expected []finding) []clientv3.Cmp {
	conds := make([]clientv3.Cmp, len(expected))
	for i, f := range expected {
		conds[i] = clientv3.Compare(clientv3.CreateRevision(f.key), "=", f.created)
	}
	return conds
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

// tell reports a reply to the judges and finds the entries in doubt that exist.
// What another lease has put under a key in doubt is not ours to remove.
func (k *Look) tell(batch []finding, resp *clientv3.TxnResponse) {
	k.list.telling.Lock() // looks may overlap
	defer k.list.telling.Unlock()
	k.list.couldRead(batch)
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
			k.found = append(k.found, orphan{f.slot, kv.CreateRevision, kv.ModRevision})
		}
	}
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
// since, see Reclaim. If that is refused for one of them, they are removed one by one. What
// fails is found again by the next look.
func (k *Look) settle(ctx context.Context, patience time.Duration) {
	// The server allows as many operations in all levels together.
	most := max(k.list.batch()/opsPerOrphan, 1)
	if k.singly {
		most = 1
	}
	batch := k.found[:min(len(k.found), most)]
	k.found = k.found[len(batch):]
	ops := make([]clientv3.Op, len(batch))
	for i, o := range batch {
		ops[i] = o.removal()
	}
	err := attempt.Once(ctx, settleTimes*patience, func(ctx context.Context) error {
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
	switch {
	case err == nil || attempt.Uncertain(err) || attempt.Transient(err):
	case len(batch) > 1:
		_ = k.failed(err, opsPerOrphan*len(batch))
		k.found, k.singly = slices.Concat(batch, k.found), true
	default:
		if k.refusals++; k.refusals >= maxRefusals {
			k.found = nil
		}
	}
}

// removal removes an orphan if nothing has happened to it since.
func (o orphan) removal() clientv3.Op {
	return clientv3.OpTxn(
		[]clientv3.Cmp{
			clientv3.Compare(clientv3.CreateRevision(o.slot.key), "=", o.created),
			clientv3.Compare(clientv3.ModRevision(o.slot.key), "=", o.modified),
		},
		append([]clientv3.Op{clientv3.OpDelete(o.slot.key)}, o.slot.with...), nil)
}
