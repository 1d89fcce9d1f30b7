package history

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// Log collects events as they come in. Use NewLog.
type Log struct {
	mu      sync.Mutex
	events  []Event       // in order of arrival
	changed chan struct{} // closed and replaced when there are more
}

// NewLog returns an empty log.
func NewLog() *Log { return &Log{changed: make(chan struct{})} }

// Add appends an event.
func (l *Log) Add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	close(l.changed)
	l.changed = make(chan struct{})
}

// Mark is a place in the log: what comes after it is new.
func (l *Log) Mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.events)
}

// Await returns the first event after mark that meets the condition, when there is one.
func (l *Log) Await(ctx context.Context, mark int, cond func(Event) bool) (Event, error) {
	for {
		l.mu.Lock()
		news, changed := l.events[mark:], l.changed
		l.mu.Unlock()
		if i := slices.IndexFunc(news, cond); i >= 0 {
			return news[i], nil
		}
		mark += len(news)
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, context.Cause(ctx)
		}
	}
}

// Last returns the latest event to arrive that meets the condition.
func (l *Log) Last(cond func(Event) bool) (Event, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range slices.Backward(l.events) {
		if cond(e) {
			return e, true
		}
	}
	return Event{}, false
}

// Events returns all events in the order of their times.
func (l *Log) Events() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedStableFunc(slices.Values(l.events), func(a, b Event) int { return cmp.Compare(a.At, b.At) })
}
