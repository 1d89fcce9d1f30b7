package etcdtest

import (
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Call is one attempt at a unary RPC, or one message on a stream.
type Call struct {
	Method string
	Start  time.Time
	// Stream is set for a message on a stream: one that was sent has a Request,
	// one that was received a Response.
	Stream   bool
	Request  proto.Message
	Response proto.Message // nil while the call is under way, and when it failed

	// The rest is of unary calls.
	Done bool
	Took time.Duration
	Err  error
}

// IsWrite reports whether the call needs a raft entry. A Txn does if any branch
// of it may write, whichever is taken.
func (c Call) IsWrite() bool {
	switch req := c.Request.(type) {
	case *pb.TxnRequest:
		return txnWrites(req)
	case *pb.PutRequest, *pb.DeleteRangeRequest, *pb.CompactionRequest,
		*pb.LeaseGrantRequest, *pb.LeaseRevokeRequest,
		*pb.AuthenticateRequest: // its token is put into the log
		return true
	default:
		return false
	}
}

// IsWatchCreate reports whether the call asks for a watch.
func (c Call) IsWatchCreate() bool {
	req, ok := c.Request.(*pb.WatchRequest)
	return ok && req.GetCreateRequest() != nil
}

func txnWrites(txn *pb.TxnRequest) bool {
	return opsWrite(txn.GetSuccess()) || opsWrite(txn.GetFailure())
}

func opsWrite(ops []*pb.RequestOp) bool {
	for _, op := range ops {
		if op.GetRequestPut() != nil || op.GetRequestDeleteRange() != nil {
			return true
		}
		if nested := op.GetRequestTxn(); nested != nil && txnWrites(nested) {
			return true
		}
	}
	return false
}
