package chaos

import (
	"context"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/process"
)

const (
	// beat is how often the lab looks whether it is woken in time.
	beat = 20 * time.Millisecond
	// lateBeat is what is too much.
	lateBeat = 10 * time.Millisecond
)

// lateness is by how much this machine was late, because it had too much to do. What
// has to happen within a time gets so much more of it.
type lateness struct {
	mu    sync.Mutex
	beats []lateBy
}

// lateBy is one beat that came late.
type lateBy struct {
	at int64
	by time.Duration
}

// watch takes beats until ctx ends.
func (l *lateness) watch(ctx context.Context) {
	t := time.NewTimer(beat)
	defer t.Stop()
	for due := process.Now() + int64(beat); ; due = process.Now() + int64(beat) {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		at := process.Now()
		if by := time.Duration(at - due); by > lateBeat {
			l.mu.Lock()
			l.beats = append(l.beats, lateBy{at, by})
			l.mu.Unlock()
		}
		t.Reset(beat)
	}
}

// between returns by how much beats were late from one time to another, all together.
func (l *lateness) between(from, to int64) (sum time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.beats {
		if b.at > from && b.at-int64(b.by) < to {
			sum += b.by
		}
	}
	return sum
}
