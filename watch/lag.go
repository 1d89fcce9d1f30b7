package watch

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// errBehind says that a member answers, and has not come to a revision that the store had
// long before: what it sends is old, however lively it is.
var errBehind = errors.New("the member is behind the others")

// mark is a revision that the store has reached, and when that became known.
type mark struct {
	revision int64
	at       time.Time
}

// latest is the highest revision of the store that a member has told a client's streams.
type latest struct {
	mu      sync.Mutex
	cluster uint64
	mark    mark
	asking  bool // somebody reads it
	asked   time.Time
}

// note takes note of an answer, whichever member has given it.
func (l *latest) note(header *pb.ResponseHeader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if header.GetClusterId() != l.cluster || header.GetRevision() > l.mark.revision {
		l.set(header)
	}
}

// set needs mu to be held.
func (l *latest) set(header *pb.ResponseHeader) {
	l.cluster, l.mark = header.GetClusterId(), mark{header.GetRevision(), time.Now()}
}

// of returns what is known of a cluster, nothing if another has answered last.
func (l *latest) of(cluster uint64) mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cluster != l.cluster {
		return mark{}
	}
	return l.mark
}

// begin reports whether the caller shall read the revision, because nobody has within a
// time, and what was known before.
func (l *latest) begin(within time.Duration) (known int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asking || time.Since(l.asked) < within {
		return 0, false
	}
	l.asking, l.asked = true, time.Now()
	return l.mark.revision, true
}

// end takes note of what was read, nil if nothing. A read is never below what was known
// before it, unless the store was set back.
func (l *latest) end(known int64, header *pb.ResponseHeader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asking = false
	switch {
	case header == nil:
	case header.GetClusterId() != l.cluster, header.GetRevision() > l.mark.revision, header.GetRevision() < known:
		l.set(header)
	}
}

// inquire has the store asked for its revision, unless somebody has within a time. One
// read serves all streams of a client. Without another endpoint there is nowhere to go, and
// nothing to ask for.
func (r *reception) inquire(ctx context.Context, within time.Duration) {
	f := r.f
	if len(f.client.Endpoints()) < 2 {
		return
	}
	known, ok := f.streams.latest.begin(within)
	if !ok {
		return
	}
	r.running.Go(func() { // ends with ctx; it does not take turns, since it is about what holds up the others
		resp, err := readFrom(ctx, f.client, f.stall/10, f.keys.key, clientv3.WithKeysOnly())
		if err != nil {
			f.streams.latest.end(known, nil)
			return
		}
		f.streams.latest.end(known, resp.Header)
	})
}

// keepUp returns errBehind if the member still tells, so long after the store had come to
// a revision, that it has not. What counts is what it says of itself and not the position: a
// watch with a long history is behind its own member. Where no other member is found, the
// same one is given twice as long each time.
func (r *reception) keepUp() error {
	f, said := r.f, r.w.line.last.Load()
	switch {
	case said.header.GetRevision() >= f.goal.revision:
		f.goal, f.tolerance = f.streams.latest.of(f.cluster), f.stall/2
	case said.at.Sub(f.goal.at) >= f.tolerance:
		f.tolerance = min(2*f.tolerance, maxPatience*f.stall)
		return errBehind
	}
	return nil
}
