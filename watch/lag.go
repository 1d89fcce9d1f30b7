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

// known returns the revision that is known, of whatever cluster.
func (l *latest) known() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mark.revision
}

// learn takes note of what was read, when a revision was known before. A read is never below
// that, unless the store was set back.
func (l *latest) learn(known int64, header *pb.ResponseHeader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if header.GetClusterId() != l.cluster || header.GetRevision() > l.mark.revision || header.GetRevision() < known {
		l.set(header)
	}
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

// end says that the caller reads it no longer.
func (l *latest) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asking = false
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
		resp, err := f.streams.readAtOnce(ctx, f.stall/10, f.keys.key, clientv3.WithKeysOnly())
		if err == nil {
			f.streams.latest.learn(known, resp.Header)
		}
		f.streams.latest.end()
	})
}

// keepUp returns errBehind if the member still tells, so long after the store had come to
// a revision, that it has not. What counts is what it says of itself and not the position: a
// watch with a long history is behind its own member. Where no other member is found, the
// same one is given twice as long each time, from then on.
func (r *reception) keepUp() error {
	f, said := r.f, r.w.line.last.Load()
	if len(f.client.Endpoints()) < 2 {
		return nil
	}
	known := f.streams.latest.of(f.cluster)
	switch {
	case said.header.GetRevision() >= f.goal.revision, known.revision < f.goal.revision: // it was set back
		f.goal, f.tolerance = known, f.stall/2
	case said.at.Sub(f.goal.at) >= f.tolerance:
		f.goal.at = said.at
		f.tolerance = min(2*f.tolerance, maxPatience*f.stall)
		return errBehind
	}
	return nil
}
