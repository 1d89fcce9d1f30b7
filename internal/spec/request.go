package spec

import (
	"bytes"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// operation is one operation of a transaction, on whatever level.
type operation struct {
	op *pb.RequestOp
	// conds are all conditions that hold when it runs.
	conds []*pb.Compare
	// ran is set if the answer says that it did, and then resp is its part of that.
	ran  bool
	resp *pb.ResponseOp
	// failed is the condition that has not held, if it did not run because of one alone.
	failed *pb.Compare
}

// operations returns the operations of a transaction, resp being nil if it has not run.
func operations(req *pb.TxnRequest, resp *pb.TxnResponse) []operation { return walk(req, resp, nil) }

func walk(req *pb.TxnRequest, resp *pb.TxnResponse, outer []*pb.Compare) []operation {
	conds := append(slices.Clip(outer), req.Compare...)
	var then, otherwise []*pb.ResponseOp
	var failed *pb.Compare
	switch {
	case resp == nil:
	case resp.Succeeded:
		then = resp.Responses
	default:
		otherwise = resp.Responses
		if len(req.Compare) == 1 {
			failed = req.Compare[0]
		}
	}
	return append(branch(req.Success, then, conds, failed), branch(req.Failure, otherwise, outer, nil)...)
}

// branch returns the operations of one branch, which has run if there are answers.
func branch(ops []*pb.RequestOp, answers []*pb.ResponseOp, conds []*pb.Compare, failed *pb.Compare) []operation {
	var all []operation
	for i, op := range ops {
		var answer *pb.ResponseOp
		if len(answers) > 0 {
			answer = answers[i]
		}
		if nested := op.GetRequestTxn(); nested != nil {
			all = append(all, walk(nested, answer.GetResponseTxn(), conds)...)
			continue
		}
		all = append(all, operation{op, conds, answer != nil, answer, failed})
	}
	return all
}

// on returns the conditions on a key alone.
func (o operation) on(key []byte) (all []*pb.Compare) {
	for _, c := range o.conds {
		if bytes.Equal(c.Key, key) && len(c.RangeEnd) == 0 {
			all = append(all, c)
		}
	}
	return all
}

// absence reports whether a condition says that key does not exist.
func absence(c *pb.Compare, key []byte) bool {
	return c.Target == pb.Compare_CREATE && c.Result == pb.Compare_EQUAL && c.GetCreateRevision() == 0 && covers(c.Key, c.RangeEnd, key)
}

// covers reports whether a range has a key.
func covers(from, to, key []byte) bool {
	if len(to) == 0 {
		return bytes.Equal(from, key)
	}
	return bytes.Compare(from, key) <= 0 && (len(to) == 1 && to[0] == 0 || bytes.Compare(key, to) < 0)
}

// coversAll reports whether a range has all keys that begin with prefix.
func coversAll(from, to []byte, prefix string) bool {
	return len(to) > 0 && covers(from, to, []byte(prefix)) && covers(from, to, []byte(prefix+"\xff"))
}

// identifies reports whether a condition on an entry says which entry it is: by its
// revision, or by its value. One on no revision is never true, and means nobody.
func identifies(c *pb.Compare) bool {
	switch c.Target {
	case pb.Compare_CREATE:
		return c.Result == pb.Compare_EQUAL && c.GetCreateRevision() > 0
	case pb.Compare_VALUE:
		return c.Result == pb.Compare_EQUAL
	case pb.Compare_MOD, pb.Compare_VERSION, pb.Compare_LEASE:
	}
	return false
}

// harmless reports whether a condition on an entry is one that a specified step may have
// beside one that identifies it, or instead of it.
func harmless(c *pb.Compare) bool {
	switch c.Target {
	case pb.Compare_CREATE:
		return c.Result == pb.Compare_EQUAL || c.Result == pb.Compare_LESS && c.GetCreateRevision() <= 0
	case pb.Compare_MOD, pb.Compare_VALUE:
		return c.Result == pb.Compare_EQUAL
	case pb.Compare_VERSION, pb.Compare_LEASE:
	}
	return false
}

// revisionOf returns the store's revision of an answer, 0 if it has none.
func revisionOf(m proto.Message) int64 { return headerOf(m).GetRevision() }

func headerOf(m proto.Message) *pb.ResponseHeader {
	if h, ok := m.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		return h.GetHeader()
	}
	return nil
}

// quorum reports whether a request is answered through a quorum.
func quorum(m proto.Message) bool {
	switch req := m.(type) {
	case *pb.RangeRequest:
		return !req.Serializable
	case *pb.TxnRequest:
		for _, o := range operations(req, nil) {
			if r := o.op.GetRequestRange(); r == nil || !r.Serializable {
				return true
			}
		}
		return false
	case *pb.MemberListRequest:
		return req.Linearizable
	case *pb.PutRequest, *pb.DeleteRangeRequest:
		return true
	}
	return false
}
