package look

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/conclave-go/conclave/internal/attempt"
)

// probeKey is what a list probes with as long as no look has read a key; it need not exist.
const probeKey = "conclave"

// Term returns the raft term of a probe.
func (k *Look) Term(ctx context.Context) (term uint64, err error) {
	header, err := k.list.probe(ctx, k.client)
	return header.GetRaftTerm(), err
}

// probe makes a read that tells nobody anything, for its header: linearizable, but see members.
func (l *List) probe(ctx context.Context, client *clientv3.Client) (*pb.ResponseHeader, error) {
	for key := l.readable(); key != ""; key = l.notReadable(key) {
		resp, err := client.Txn(ctx).Then(clientv3.OpGet(key, clientv3.WithCountOnly())).Commit()
		switch {
		case err == nil:
			return resp.Header, nil
		case attempt.Code(err) != codes.PermissionDenied:
			return nil, err
		}
	}
	return members(ctx, client)
}

// members asks for the member list, which every authenticated user may read and
// which is linearizable from etcd 3.5 on. On 3.4 it is answered locally: there a role
// restricted to a prefix leaves renewals unconfirmed until a look has read a key.
func members(ctx context.Context, client *clientv3.Client) (*pb.ResponseHeader, error) {
	resp, err := client.MemberList(ctx)
	if err != nil {
		return nil, err
	}
	return resp.Header, nil
}

// readable returns a key to probe with, empty if none is known that may be read.
func (l *List) readable() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.probed
}

// notReadable notes that a key to probe with may not be read, and returns what to probe with
// instead, empty if nothing is known.
func (l *List) notReadable(key string) (next string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.probed != key: // another look knows better
	case key == probeKey:
		l.probed = ""
	default:
		l.probed = probeKey
	}
	return l.probed
}

// couldRead notes that a step has looked at keys: one of them is what to probe with from now on.
func (l *List) couldRead(keys []finding) {
	if len(keys) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.probed = keys[0].key
}
