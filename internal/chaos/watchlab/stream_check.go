package watchlab

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/conclave-go/conclave/watch"
)

// streamCheck compares what a stream delivers, batch by batch, with the truth.
type streamCheck struct {
	truth     *truth
	scope     scope
	conflated bool
	compacted func() int64 // the highest revision of any compaction

	stream batch // its beginning
	at     int64 // everything up to here was delivered; unknown before the first batch from now
	first  bool  // no batch yet
	state  state // what the store had at that revision
	lost   bool  // it was wrong before: what comes is not checked
}

// unknown is where a stream from now stands before its first batch.
const unknown = -1

// next checks a batch.
func (c *streamCheck) next(b batch) (Check, error) {
	switch {
	case b.begins:
		c.begin(b)
		return "", nil
	case c.lost:
		return "", nil
	}
	check, err := c.compare(b)
	c.lost = err != nil
	return check, err
}

// begin turns to a new stream.
func (c *streamCheck) begin(b batch) {
	c.stream, c.first, c.lost = b, true, false
	c.at = unknown
	if b.start > 0 {
		c.moveTo(b.start - 1)
	}
}

// moveTo takes the state to that of a revision and returns the events on the way.
func (c *streamCheck) moveTo(revision int64) []event {
	if c.at == unknown {
		c.at = 0
		clear(c.state)
	}
	steps := c.truth.between(c.scope, c.at, revision)
	c.state.apply(steps...)
	c.at = revision
	return steps
}

func (c *streamCheck) compare(b batch) (Check, error) {
	if b.ended != nil {
		return Errors, c.checkEnd(b.ended)
	}
	first := c.first
	c.first = false
	if b.revision <= c.at {
		return Revisions, fmt.Errorf("revision %d after %d", b.revision, c.at)
	}
	if last := c.truth.revision(); b.revision > last {
		return Revisions, fmt.Errorf("revision %d is above the store's, %d", b.revision, last)
	}
	if b.snapshot && !first {
		return Snapshots, fmt.Errorf("a snapshot at %d that is not the first batch", b.revision)
	}
	switch {
	case b.snapshot:
		return Snapshots, c.checkSnapshot(b)
	case b.resync:
		return Resyncs, c.checkResync(b)
	case c.at == unknown && c.conflated: // it may be one with what comes after it
		c.moveTo(b.revision)
		return "", nil
	case c.at == unknown: // it says where it begins
		c.moveTo(b.revision)
		return Events, same(nil, b.events)
	}
	from := c.at
	want := c.moveTo(b.revision)
	got := b.events
	if c.conflated {
		want = latest(want)
		if n := len(latest(got)); n != len(got) {
			return Events, fmt.Errorf("batch from %d to %d: %d events of %d keys", from, b.revision, len(got), n)
		}
	}
	if err := same(want, got); err != nil {
		return Events, fmt.Errorf("batch from %d to %d: %w", from, b.revision, err)
	}
	return "", nil
}

// checkEnd wants a compaction that was, and nothing missing before it.
func (c *streamCheck) checkEnd(err error) error {
	var e *watch.CompactedError
	if !errors.As(err, &e) {
		return fmt.Errorf("%w: not a CompactedError", err)
	}
	if e.Compacted > c.compacted() || e.Requested >= e.Compacted {
		return fmt.Errorf("%w: the last compaction was at %d", err, c.compacted())
	}
	if c.at == unknown {
		return nil
	}
	if e.Requested <= c.at {
		return fmt.Errorf("%w: everything up to %d was delivered", err, c.at)
	}
	if missing := c.truth.between(c.scope, c.at, e.Requested-1); len(missing) > 0 {
		return fmt.Errorf("%w: delivered is what is up to %d, not yet %v", err, c.at, missing[0])
	}
	return nil
}

func (c *streamCheck) checkSnapshot(b batch) error {
	if b.revision < c.stream.acked {
		return fmt.Errorf("at %d: %d was there when it was opened", b.revision, c.stream.acked)
	}
	c.moveTo(b.revision)
	for i, ev := range b.events {
		if i > 0 && b.events[i-1].key >= ev.key {
			return fmt.Errorf("at %d: %q after %q", b.revision, ev.key, b.events[i-1].key)
		}
		if want := c.state[ev.key]; want != ev {
			return fmt.Errorf("at %d: %v, not %v", b.revision, ev, want)
		}
	}
	if len(b.events) != len(c.state) {
		return fmt.Errorf("at %d: %d keys of %d", b.revision, len(b.events), len(c.state))
	}
	return nil
}

// checkResync wants exactly the keys in which two states differ.
func (c *streamCheck) checkResync(b batch) error {
	from := c.at
	if from == unknown {
		return fmt.Errorf("at %d, before a snapshot", b.revision)
	}
	before := maps.Clone(c.state)
	c.moveTo(b.revision)
	left := difference(before, c.state, b.revision)
	for i, ev := range b.events {
		want, ok := left[ev.key]
		delete(left, ev.key)
		switch {
		case i > 0 && b.events[i-1].mod > ev.mod:
			return fmt.Errorf("from %d to %d: %v after %v", from, b.revision, ev, b.events[i-1])
		case !ok:
			return fmt.Errorf("from %d to %d: %v is no difference, or twice", from, b.revision, ev)
		case ev.deleted && ev.key == want.key && want.deleted && ev.mod == want.mod:
		case ev != want:
			return fmt.Errorf("from %d to %d: %v, not %v", from, b.revision, ev, want)
		}
	}
	for _, ev := range left {
		return fmt.Errorf("from %d to %d: %v is missing", from, b.revision, ev)
	}
	return nil
}

// difference returns, by key, the events that lead from one state to another.
func difference(before, after state, revision int64) map[string]event {
	events := make(map[string]event)
	for key, ev := range after {
		if old, ok := before[key]; !ok || old.mod != ev.mod {
			events[key] = ev
		}
	}
	for key := range before {
		if _, ok := after[key]; !ok {
			events[key] = event{key: key, deleted: true, mod: revision}
		}
	}
	return events
}

// same returns the first difference of two lists of events.
func same(want, got []event) error {
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return fmt.Errorf("event %d is %v, not %v", i, got[i], want[i])
		}
	}
	switch {
	case len(got) > len(want):
		return fmt.Errorf("%v is not, or comes twice", got[len(want)])
	case len(got) < len(want):
		return fmt.Errorf("%v is missing, and %d more", want[len(got)], len(want)-len(got)-1)
	}
	return nil
}

// latest returns the last event of each key, in order.
func latest(events []event) []event {
	seen := make(map[string]bool)
	var last []event
	for _, ev := range slices.Backward(events) {
		if !seen[ev.key] {
			seen[ev.key] = true
			last = append(last, ev)
		}
	}
	slices.Reverse(last)
	return last
}
