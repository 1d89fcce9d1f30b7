package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/clock"
)

// stream is one gRPC stream of renewals. It has two goroutines: one sends, the other
// receives; both end when the stream does.
type stream struct {
	renewer *renewer
	ctx     context.Context
	cancel  context.CancelFunc
	wake    chan struct{} // holds a token when there is something to send

	// The fields below are protected by the renewer's mu.

	heard  clock.Instant // when it has answered last, or was opened
	owed   []*renewal    // what is not answered, in the order in which it is sent
	unsent []*renewal    // the last of owed
	// deposed is set once a leader that was deposed has answered: it may not know for long.
	deposed bool
}

// silent reports whether an answer is overdue and none has come for as long: a stream that is
// merely slow answers all the time. The renewer's mu must be held.
func (s *stream) silent(now clock.Instant) bool {
	if len(s.owed) == 0 {
		return false
	}
	patience := s.owed[0].patience
	return now.Sub(s.owed[0].sent) >= patience && now.Sub(s.heard) >= patience
}

// owes reports whether a renewal of the lease is not answered. The renewer's mu must be
// held.
func (s *stream) owes(id clientv3.LeaseID) bool {
	return slices.ContainsFunc(s.owed, func(a *renewal) bool { return a.id == id })
}

// run opens the stream and sends what it is given.
func (s *stream) run() {
	// RequireLeader: a member cut off from the others ends the stream by itself instead
	// of holding the renewal until it is overdue.
	calls, err := clientv3.RetryLeaseClient(s.renewer.client).LeaseKeepAlive(attempt.RequireLeader(s.ctx))
	if err != nil {
		s.fail(err)
		return
	}
	s.renewer.running.Go(func() { s.receive(calls) })
	for {
		for _, a := range s.take() {
			// What goes wrong is told by Recv, and better.
			_ = calls.Send(&pb.LeaseKeepAliveRequest{ID: int64(a.id)})
		}
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return
		}
	}
}

// take returns what is to be sent.
func (s *stream) take() []*renewal {
	s.renewer.mu.Lock()
	defer s.renewer.mu.Unlock()
	unsent := s.unsent
	s.unsent = nil
	return unsent
}

// receive passes on the answers until the stream ends.
func (s *stream) receive(calls pb.Lease_LeaseKeepAliveClient) {
	for {
		resp, err := calls.Recv()
		if err != nil {
			s.fail(err)
			return
		}
		s.answered(resp)
	}
}

// answered passes on an answer, which is to the oldest request for its lease.
func (s *stream) answered(resp *pb.LeaseKeepAliveResponse) {
	s.renewer.mu.Lock()
	defer s.renewer.mu.Unlock()
	s.heard = clock.Now()
	i := slices.IndexFunc(s.owed, func(a *renewal) bool { return int64(a.id) == resp.ID })
	if i < 0 {
		return
	}
	acked := acknowledgement{ttl: time.Duration(resp.TTL) * time.Second, term: resp.Header.RaftTerm, stream: s}
	if resp.TTL <= 0 {
		acked.err = errUnknown
	}
	s.owed[i].answer <- acked
	s.owed = slices.Delete(s.owed, i, i+1)
}

// fail ends the stream because of err.
func (s *stream) fail(err error) {
	s.renewer.mu.Lock()
	defer s.renewer.mu.Unlock()
	err = clientv3.ContextError(s.ctx, rpctypes.Error(err))
	if errors.Is(err, rpctypes.ErrPermissionDenied) && len(s.owed) > 0 {
		// The server serves one request after the other: it is the oldest that it has refused.
		s.owed[0].answer <- acknowledgement{err: fmt.Errorf("%w: %w", errRefused, err)}
		s.owed, err = s.owed[1:], errStreamEnded
	}
	s.renewer.end(s, err)
}
