package lease

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/clock"
)

const (
	// mostStreams is how many keep-alive streams a client has while members are slow or
	// have vanished; one is enough otherwise.
	mostStreams = 4
	// spareStream is for how long a stream is kept that is not used: where authentication
	// is on, opening one costs a password check and a raft write (70 ms measured).
	spareStream = time.Minute
)

// renewer renews all leases of a client over one long-lived stream, since a connection
// has a limited number of them (a hundred behind some servers and proxies). A renewal
// that is not answered in time has the next one sent on another stream, which may
// reach another member; the first goes on, because its answer counts whenever it comes.
type renewer struct {
	client  *clientv3.Client
	key     any
	running sync.WaitGroup

	users int // leases; protected by the table's mu

	mu      sync.Mutex
	streams []*stream
}

// renewers is the table of all renewers of the process, by their connections, which
// clients that differ in their namespace only have in common.
//
//nolint:gochecknoglobals // sessions of one client do not know of each other
var renewers = struct {
	mu  sync.Mutex
	all map[any]*renewer
}{all: make(map[any]*renewer)}

// renewerOf returns the renewer of a client, for another lease until release.
func renewerOf(client *clientv3.Client) *renewer {
	key := any(client.ActiveConnection())
	renewers.mu.Lock()
	defer renewers.mu.Unlock()
	r := renewers.all[key]
	if r == nil {
		r = &renewer{client: client, key: key}
		renewers.all[key] = r
	}
	r.users++
	return r
}

// release ends the use of r by one lease. The last one ends the streams.
func (r *renewer) release() {
	renewers.mu.Lock()
	r.users--
	last := r.users == 0
	if last {
		delete(renewers.all, r.key)
	}
	renewers.mu.Unlock()
	if last {
		r.mu.Lock()
		for _, s := range slices.Clone(r.streams) {
			r.end(s, errStreamEnded)
		}
		r.mu.Unlock()
		r.running.Wait()
	}
}

// acknowledgement is the server's answer to a renewal.
type acknowledgement struct {
	ttl    time.Duration
	term   uint64  // the raft term of the answering member, taken before it renewed
	stream *stream // that has brought it
	err    error
}

// renewal is a request to renew a lease.
type renewal struct {
	id       clientv3.LeaseID
	sent     clock.Instant
	patience time.Duration // after which it is overdue
	answer   chan acknowledgement
}

var errStreamEnded = errors.New("the stream of renewals was ended")

// renew renews a lease once. It returns errUnknown if the server says that the lease does
// not exist. After the end of ctx the answer is not waited for any more.
func (r *renewer) renew(ctx context.Context, id clientv3.LeaseID, patience time.Duration) (acknowledgement, error) {
	a := &renewal{id: id, sent: clock.Now(), patience: patience, answer: make(chan acknowledgement, 1)}
	r.send(a)
	select {
	case acked := <-a.answer:
		return acked, acked.err
	case <-ctx.Done():
		return acknowledgement{}, context.Cause(ctx)
	}
}

// send gives a renewal to the stream that is most likely to answer.
func (r *renewer) send(a *renewal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.pick(a)
	s.owed = append(s.owed, a)
	s.unsent = append(s.unsent, a)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pick returns the stream for a renewal: the one that has answered last of those that
// are not late with anything, and have answered what they got before for this lease. If
// there is none, another is opened. mu must be held.
func (r *renewer) pick(a *renewal) *stream {
	var best, last *stream
	for _, s := range slices.Clone(r.streams) {
		if unused := a.sent.Sub(s.heard) > spareStream && len(r.streams) > 1; len(s.owed) == 0 && (unused || s.deposed) {
			r.end(s, errStreamEnded)
			continue
		}
		if s.deposed {
			continue
		}
		if last == nil || s.heard > last.heard {
			last = s
		}
		if !s.silent(a.sent) && !s.owes(a.id) && (best == nil || s.heard > best.heard) {
			best = s
		}
	}
	if best != nil {
		return best
	}
	if len(r.streams) >= mostStreams {
		switch stale := r.stalest(); {
		case a.sent.Sub(stale.heard) > spareStream:
			r.end(stale, errStreamEnded)
		case last == nil || r.silent(a.sent):
			// The oldest stays: answers may be slower than all patience.
			r.end(r.streams[1], errStreamEnded)
		default:
			return last
		}
	}
	return r.open(a.sent)
}

// silent reports whether all streams are. mu must be held.
func (r *renewer) silent(now clock.Instant) bool {
	return !slices.ContainsFunc(r.streams, func(s *stream) bool { return !s.silent(now) })
}

// distrust takes a stream out of use that leads to a deposed leader. What it owes others
// may still be of use to them.
func (r *renewer) distrust(s *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.deposed = true
}

// stalest returns the stream that has not answered for longest. mu must be held.
func (r *renewer) stalest() *stream {
	return slices.MinFunc(r.streams, func(a, b *stream) int { return cmp.Compare(a.heard, b.heard) })
}

// open begins another stream. mu must be held.
func (r *renewer) open(now clock.Instant) *stream {
	//nolint:forbidigo // it ends with the last lease that uses it, or when it does not answer
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{renewer: r, ctx: ctx, cancel: cancel, heard: now, wake: make(chan struct{}, 1)}
	r.streams = append(r.streams, s)
	r.running.Go(s.run)
	return s
}

// end takes a stream out of use and fails what it owes. mu must be held.
func (r *renewer) end(s *stream, err error) {
	s.cancel()
	r.streams = slices.DeleteFunc(r.streams, func(x *stream) bool { return x == s })
	for _, a := range s.owed {
		a.answer <- acknowledgement{err: err}
	}
	s.owed, s.unsent = nil, nil
}
