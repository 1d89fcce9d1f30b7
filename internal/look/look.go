package look

import (
	"context"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/conclave-go/conclave/internal/attempt"
)

const (
	// maxOps is how many keys one transaction reads: the server's default limit.
	maxOps = 128
	// manyKeys is the size from which a look asks for the lease's own keys
	// first and reads only the others: 1,000 keys are eight transactions,
	// 100,000 would be 800.
	manyKeys = 1000
	// probeKey is read when there is nothing to look at; it need not exist.
	probeKey = "conclave"
)

// Look reads all keys of the list with linearizable transactions, reports what
// it found to their judges, removes entries in doubt that have turned up, and
// returns the highest raft term among the replies. The state is at least as new
// as the moment of the call.
func (l *List) Look(ctx context.Context, client *clientv3.Client, lease clientv3.LeaseID) (term uint64, err error) {
	all := l.findings()
	if len(all) > manyKeys {
		if all, err = withoutAttached(ctx, client, lease, all); err != nil {
			return 0, err
		}
	}
	if len(all) == 0 {
		return l.probe(ctx, client)
	}
	var found []*mvccpb.KeyValue
	for batch := range slices.Chunk(all, maxOps) {
		resp, err := client.Txn(ctx).Then(gets(batch)...).Commit()
		if attempt.Code(err) == codes.PermissionDenied {
			// A role that may write but not read its keys. They cannot be
			// judged; the lease need not suffer for it.
			return members(ctx, client)
		}
		if err != nil {
			return 0, err
		}
		term = max(term, resp.Header.RaftTerm)
		found = append(found, l.tell(batch, resp, lease)...)
	}
	if len(found) > 0 {
		l.settle(ctx, client, found)
	}
	return term, nil
}

func gets(batch []finding) []clientv3.Op {
	ops := make([]clientv3.Op, len(batch))
	for i, f := range batch {
		ops[i] = clientv3.OpGet(f.key, clientv3.WithKeysOnly())
	}
	return ops
}

// tell reports a reply to the judges and returns the entries in doubt that exist.
// What another lease has put under a key in doubt is not ours to remove.
func (l *List) tell(batch []finding, resp *clientv3.TxnResponse, lease clientv3.LeaseID) (found []*mvccpb.KeyValue) {
	for i, f := range batch {
		var kv *mvccpb.KeyValue
		if kvs := resp.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
			kv = kvs[0]
		}
		switch {
		case f.judge != nil:
			f.judge(kv, resp.Header.Revision)
		case kv == nil || clientv3.LeaseID(kv.Lease) != lease:
			l.absent(f.key, resp.Header.Revision)
		default:
			found = append(found, kv)
		}
	}
	return found
}

// settle removes entries in doubt, each guarded by its create revision. What
// fails is found again by the next look.
func (l *List) settle(ctx context.Context, client *clientv3.Client, found []*mvccpb.KeyValue) {
	for batch := range slices.Chunk(found, maxOps) {
		ops := make([]clientv3.Op, len(batch))
		for i, kv := range batch {
			key := string(kv.Key)
			ops[i] = clientv3.OpTxn(
				[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", kv.CreateRevision)},
				[]clientv3.Op{clientv3.OpDelete(key)}, nil)
		}
		resp, err := client.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return
		}
		for i, kv := range batch {
			if resp.Responses[i].GetResponseTxn().Succeeded {
				l.Removed(string(kv.Key), kv.CreateRevision)
			}
		}
	}
}

// probe makes a linearizable read without a key of anybody's.
func (l *List) probe(ctx context.Context, client *clientv3.Client) (term uint64, err error) {
	if l.probeDenied() {
		return members(ctx, client)
	}
	resp, err := client.Txn(ctx).Then(clientv3.OpGet(probeKey, clientv3.WithCountOnly())).Commit()
	if attempt.Code(err) == codes.PermissionDenied {
		l.denyProbe()
		return members(ctx, client)
	}
	if err != nil {
		return 0, err
	}
	return resp.Header.RaftTerm, nil
}

// members asks for the member list, which every authenticated user may read and
// which is linearizable from etcd 3.5 on. On 3.4 it is answered locally: there a
// role restricted to a prefix leaves renewals unconfirmed while nothing is held.
func members(ctx context.Context, client *clientv3.Client) (term uint64, err error) {
	resp, err := client.MemberList(ctx)
	if err != nil {
		return 0, err
	}
	return resp.Header.RaftTerm, nil
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

// withoutAttached drops the keys that the lease still has. The answer comes from
// the leader's memory without a quorum, so it is only a hint that a key is
// there; absence is always confirmed by a read.
func withoutAttached(ctx context.Context, client *clientv3.Client, lease clientv3.LeaseID, all []finding) ([]finding, error) {
	resp, err := client.TimeToLive(ctx, lease, clientv3.WithAttachedKeys())
	if err != nil {
		return nil, err
	}
	attached := make(map[string]struct{}, len(resp.Keys))
	for _, key := range resp.Keys {
		attached[string(key)] = struct{}{}
	}
	return slices.DeleteFunc(all, func(f finding) bool {
		_, ok := attached[f.key]
		return ok && f.judge != nil
	}), nil
}
