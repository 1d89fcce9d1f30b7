package lease

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// Header says about an answer of etcd which member gave it, and when: what others call
// its response header. The zero Header is that of no answer.
type Header struct {
	// Cluster and Member are the IDs of the cluster and of the member that answered.
	Cluster, Member uint64
	// Revision is the revision of the store that the answer speaks of.
	Revision int64
	// Term is the raft term in which it was given.
	Term uint64
}

// HeaderOf returns what a response header of etcd says.
func HeaderOf(h *pb.ResponseHeader) Header {
	return Header{Cluster: h.GetClusterId(), Member: h.GetMemberId(), Revision: h.GetRevision(), Term: h.GetRaftTerm()}
}
