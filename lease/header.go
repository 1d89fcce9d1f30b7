package lease

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// Header says which member gave an answer of etcd, and when: it is the response header. The
// zero Header stands for no answer.
type Header struct {
	// Cluster and Member are the IDs of the cluster and of the member that answered.
	Cluster, Member uint64
	// Revision is the revision of the store that the answer is about.
	Revision int64
	// Term is the raft term in which it was given.
	Term uint64
}

// HeaderOf returns what a response header of etcd says.
func HeaderOf(h *pb.ResponseHeader) Header {
	return Header{Cluster: h.GetClusterId(), Member: h.GetMemberId(), Revision: h.GetRevision(), Term: h.GetRaftTerm()}
}
