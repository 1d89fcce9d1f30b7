package conclaveotel

import (
	"sync"

	"go.opentelemetry.io/otel/trace"
)

// maxRecent is how many released holds are remembered: who waited for one learns of it
// within a few round trips.
const maxRecent = 1024

// entry is the identity of what is in etcd's queue.
type entry struct {
	key      string
	revision int64
}

// recent has the spans that have taken the locks which are held, or were until now.
type recent struct {
	mu    sync.Mutex
	spans map[entry]holder
	ended []entry // a ring of those released
	next  int
}

type holder struct {
	span trace.SpanContext
	held bool
}

// granted notes whose an entry is, and returns the span of who had the one before.
func (r *recent) granted(e, before entry, span trace.SpanContext) (followed trace.SpanContext) {
	r.mu.Lock()
	defer r.mu.Unlock()
	followed = r.spans[before].span
	r.spans[e] = holder{span, true}
	return followed
}

// released notes that nobody holds an entry any more.
func (r *recent) released(e entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans[e] = holder{span: r.spans[e].span}
	if len(r.ended) < maxRecent {
		r.ended = append(r.ended, e)
		return
	}
	if old := r.ended[r.next]; !r.spans[old].held && old != e {
		delete(r.spans, old)
	}
	r.ended[r.next] = e
	r.next = (r.next + 1) % maxRecent
}

// of returns the span that has taken an entry.
func (r *recent) of(e entry) trace.SpanContext {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spans[e].span
}
