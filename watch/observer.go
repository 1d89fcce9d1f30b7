package watch

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/conclave-go/conclave/internal/clock"
)

// Observer holds optional callbacks about what streams and caches do, for metrics; nil ones
// are skipped, and cost nothing. They are called synchronously, so they must be quick, must
// not block, and must not call this package, except for the methods of the [Progress] they
// are given. The callbacks of one stream come in order, except for Reopened, which may come
// at the same time as another.
type Observer struct {
	// Opened is called when the iteration of a stream begins, or a cache begins to load,
	// by the goroutine that consumes the stream; a cache has its own for that. The
	// progress may be asked from then on, by any goroutine.
	Opened func(p *Progress)
	// Resynced is called by the same goroutine when needed history had been compacted away
	// and the state was read instead, before the batch is delivered.
	Resynced func(p *Progress)
	// Rebuilt is called by the same goroutine when the store is no longer the one it was
	// and the stream starts over, see [WithRebuild], before the batch is delivered.
	Rebuilt func(p *Progress)
	// Reopened is called when a watch has ended before its stream and another is about
	// to be opened, by the goroutine that receives, with the kind of reason.
	Reopened func(p *Progress, why Reason)
	// Closed is called once for each Opened when the stream has ended or the cache no
	// longer follows, err being why: nil if the loop over a stream was left.
	Closed func(p *Progress, err error)
}

// WithObserver adds the callbacks of o. If it is given more than once, all are called, in
// the order of the options. By default there are none.
func WithObserver(o Observer) SharedOption {
	return sharedOption(func(c *config) error {
		c.observers = append(c.observers, o)
		return nil
	})
}

// Reason is the kind of reason for which a watch is opened again. There are few enough to
// label a metric.
type Reason int

const (
	// ReasonEnded means that the server, or the connection, has ended the watch.
	ReasonEnded Reason = iota
	// ReasonSilent means that there was no sign of life for half of the stall limit.
	ReasonSilent
	// ReasonStalled means that no watch could be opened for the stall limit.
	ReasonStalled
	// ReasonCompacted means that history was compacted; the state is read instead.
	ReasonCompacted
	// ReasonSlow means that the buffer was full: the consumer does not keep up.
	ReasonSlow
	// ReasonBehind means that the member answered, and had not come to a revision that the
	// store had reached half a stall limit before.
	ReasonBehind
)

// String returns a word.
func (r Reason) String() string {
	switch r {
	case ReasonEnded:
		return "ended"
	case ReasonSilent:
		return "silent"
	case ReasonStalled:
		return "stalled"
	case ReasonCompacted:
		return "compacted"
	case ReasonSlow:
		return "slow"
	case ReasonBehind:
		return "behind"
	default:
		return fmt.Sprintf("Reason(%d)", int(r))
	}
}

// Progress says how far a stream is. All methods may be called from several goroutines.
type Progress struct {
	observers []Observer
	key       string
	cache     bool
	streams   *streams
	received  atomic.Int64
	handled   atomic.Int64
	heard     atomic.Int64 // a clock.Instant
}

// Key returns the key or prefix that is watched.
func (p *Progress) Key() string { return p.key }

// Cache reports whether the stream is that of a [Cache].
func (p *Progress) Cache() bool { return p.cache }

// Received returns the latest revision of the store that the server has reported, 0 if it
// has not yet.
func (p *Progress) Received() int64 { return p.received.Load() }

// Handled returns the revision up to which the consumer is done: that of the last batch
// after which it has asked for the next; for a cache, the one it shows.
func (p *Progress) Handled() int64 { return p.handled.Load() }

// Lag returns how many revisions were received and not yet handled. It does not include
// what the server has not sent, see Silence.
func (p *Progress) Lag() int64 { return max(p.Received()-p.Handled(), 0) }

// GRPCStreams returns how many gRPC streams the watches of all streams and caches of its
// client currently have, see [MaxGRPCStreams].
func (p *Progress) GRPCStreams() int { return p.streams.count() }

// Silence returns how long ago the server was last heard from, or the stream was opened. A
// quiet stream asks for signs of life, so this stays below about half of the stall limit
// while all is well.
func (p *Progress) Silence() time.Duration {
	return clock.Now().Sub(clock.Instant(p.heard.Load()))
}

// open returns the progress of a stream that begins, nil if nobody listens.
func (c *config) open(key string, cache bool, s *streams) *Progress {
	if len(c.observers) == 0 {
		return nil
	}
	p := &Progress{observers: c.observers, key: key, cache: cache, streams: s}
	p.heard.Store(int64(clock.Now()))
	p.each(func(o Observer) {
		if o.Opened != nil {
			o.Opened(p)
		}
	})
	return p
}

// each calls fn for each observer. It does nothing if p is nil.
func (p *Progress) each(fn func(o Observer)) {
	if p == nil {
		return
	}
	for _, o := range p.observers {
		fn(o)
	}
}

func (p *Progress) close(err error) {
	p.each(func(o Observer) {
		if o.Closed != nil {
			o.Closed(p, err)
		}
	})
}

func (p *Progress) resynced() {
	p.each(func(o Observer) {
		if o.Resynced != nil {
			o.Resynced(p)
		}
	})
}

// rebuilt notes that another history begins at a revision.
func (p *Progress) rebuilt(revision int64) {
	if p == nil {
		return
	}
	p.received.Store(revision)
	p.handled.Store(0)
	p.each(func(o Observer) {
		if o.Rebuilt != nil {
			o.Rebuilt(p)
		}
	})
}

func (p *Progress) reopened(why Reason) {
	p.each(func(o Observer) {
		if o.Reopened != nil {
			o.Reopened(p, why)
		}
	})
}

// hear notes a sign of life.
func (p *Progress) hear() {
	if p != nil {
		p.heard.Store(int64(clock.Now()))
	}
}

// receive notes that the server has told of a revision.
func (p *Progress) receive(revision int64) {
	if p == nil {
		return
	}
	p.hear()
	p.received.Store(max(p.received.Load(), revision)) // by one goroutine
}

// handle notes that the consumer is done up to a revision.
func (p *Progress) handle(revision int64) {
	if p != nil {
		p.handled.Store(revision)
	}
}
