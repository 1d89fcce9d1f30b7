package lease

import (
	"context"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/clock"
)

// Overdue makes the deadline pass before the timer notices, as it does for a process that
// was stopped.
func (l *Lease) Overdue() {
	l.timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = clock.Now()
}

// Extend is what a confirmed renewal does that was sent just now.
func (l *Lease) Extend(ttl time.Duration) bool { return l.extend(clock.Now(), time.Now(), ttl) }

// Suspend is what a renewal does that has failed long after the last that was confirmed.
func (l *Lease) Suspend(why error) {
	l.mu.Lock()
	l.confirmed = clock.Now().Add(-l.overdue())
	l.mu.Unlock()
	l.failed(why)
}

// Registering returns the value that the session's registration of a key shall have.
func Registering(s *Session, key string) string {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	if r := s.reg.all[key]; r != nil {
		return r.want
	}
	return ""
}

// Stream is one of a client's streams of renewals, as Pick is given them.
type Stream struct {
	Heard time.Duration // how long ago it has answered
	Owes  clientv3.LeaseID
	Since time.Duration // how long ago that was sent
}

// Pick returns on which of some streams a renewal of a lease goes out, -1 being a new one, and
// which of them are left. An answer is overdue after patience.
func Pick(client *clientv3.Client, streams []Stream, id clientv3.LeaseID, patience time.Duration) (picked int, left []int) {
	r, now := &renewer{client: client}, clock.Now()
	given := make(map[*stream]int)
	for i, s := range streams {
		_, cancel := context.WithCancel(context.Background())
		x := &stream{renewer: r, cancel: cancel, heard: now.Add(-s.Heard)}
		if s.Owes != 0 {
			x.owed = []*renewal{{id: s.Owes, sent: now.Add(-s.Since), patience: patience, answer: make(chan acknowledgement, 1)}}
		}
		r.streams, given[x] = append(r.streams, x), i
	}
	r.mu.Lock()
	best := r.pick(&renewal{id: id, sent: now, patience: patience})
	picked = -1
	for _, x := range r.streams {
		if i, ok := given[x]; ok {
			left = append(left, i)
		}
	}
	if i, ok := given[best]; ok {
		picked = i
	}
	for _, s := range slices.Clone(r.streams) {
		r.end(s, errStreamEnded)
	}
	r.mu.Unlock()
	r.running.Wait()
	return picked, left
}
