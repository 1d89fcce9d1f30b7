package lease

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// keepAlive renews a lease over one long-lived stream: where authentication is on,
// opening a stream costs a password check and a raft write (70 ms measured). A
// failed or overdue renewal ends the stream, and the next one opens another, which
// may reach another member. It belongs to one goroutine.
type keepAlive struct {
	client *clientv3.Client
	id     clientv3.LeaseID

	stream pb.Lease_LeaseKeepAliveClient
	cancel context.CancelFunc
}

// acknowledgement is the server's answer to a renewal.
type acknowledgement struct {
	ttl  time.Duration
	term uint64 // the raft term of the answering member, taken before it renewed
}

// send renews the lease once. It returns errUnknown if the server says that the
// lease does not exist.
func (k *keepAlive) send(ctx context.Context) (acknowledgement, error) {
	if err := k.open(ctx); err != nil {
		return acknowledgement{}, err
	}
	resp, err := k.exchange(ctx)
	if err != nil {
		k.close()
		return acknowledgement{}, clientv3.ContextError(ctx, rpctypes.Error(err))
	}
	if resp.TTL <= 0 {
		return acknowledgement{}, errUnknown
	}
	return acknowledgement{ttl: time.Duration(resp.TTL) * time.Second, term: resp.Header.RaftTerm}, nil
}

// open makes sure that there is a stream. The stream outlives ctx, which bounds
// only its creation.
func (k *keepAlive) open(ctx context.Context) error {
	if k.stream != nil {
		return nil
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	// RequireLeader: a member cut off from the others ends the stream by itself
	// instead of holding the renewal until its timeout.
	stream, err := clientv3.RetryLeaseClient(k.client).LeaseKeepAlive(clientv3.WithRequireLeader(life))
	if !stop() && err == nil {
		err = ctx.Err() // it ended as the stream was opened
	}
	if err != nil {
		cancel()
		return clientv3.ContextError(ctx, err)
	}
	k.stream, k.cancel = stream, cancel
	return nil
}

func (k *keepAlive) exchange(ctx context.Context) (*pb.LeaseKeepAliveResponse, error) {
	// A stream's Recv takes no context; ending the stream is what interrupts it,
	// and a stream that kept us waiting is not used again anyway.
	stop := context.AfterFunc(ctx, k.cancel)
	err := k.stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(k.id)})
	var resp *pb.LeaseKeepAliveResponse
	if err == nil {
		resp, err = k.stream.Recv()
	}
	if !stop() { // too late to keep the stream from being ended
		k.close()
	}
	return resp, err
}

// close ends the stream, if there is one.
func (k *keepAlive) close() {
	if k.stream == nil {
		return
	}
	k.cancel()
	k.stream, k.cancel = nil, nil
}
