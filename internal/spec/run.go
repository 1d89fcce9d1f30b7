package spec

import (
	"cmp"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/conclave-go/conclave/internal/clock"
	"github.com/conclave-go/conclave/lease"
)

// Run is a run of some processes on one store. Its methods may be called by several
// goroutines.
type Run struct {
	// Slack is how late after a deadline a grant may be told: between the last look at the
	// clock and the observer a goroutine can be kept from running. In virtual time it is 0.
	Slack time.Duration
	// Drift is the sessions' allowance for clocks.
	Drift float64

	began clock.Instant

	mu    sync.Mutex
	steps []step
	names []string // of the processes
	high  int64    // the highest revision in an answer
}

// step is one thing that happened in a process.
type step struct {
	process int
	at      time.Duration
	what    any // a message, or a told
}

// Message is what a process sends or receives.
type Message struct {
	// Call tells calls of a process apart: the same for a request and its answer, and for all
	// messages on one stream.
	Call int64
	// Stream is set for a message on a stream.
	Stream bool
	// Request is set for what is sent.
	Request proto.Message
	// Response or Err are set for the answer.
	Response proto.Message
	Err      error
}

// told is what a session has told its observer.
type told struct {
	Kind     tale         `json:"kind"`
	Key      string       `json:"key,omitempty"`
	Revision int64        `json:"revision,omitempty"`
	Via      lease.Via    `json:"via,omitempty"`
	Reason   lease.Reason `json:"reason,omitempty"`
	// Lease is the one that it is about, and Deadline what that has said, since the process
	// began; 0 if it was not asked.
	Lease    int64         `json:"lease,omitempty"`
	Deadline time.Duration `json:"deadline,omitempty"`
}

type tale int

const (
	granted tale = iota
	released
	waited
	claimed
)

// NewRun returns a run of which nothing has happened yet.
func NewRun() *Run { return &Run{Drift: lease.DefaultClockDrift, began: clock.Now()} }

// Process is one of a run: a client, and a session on it. A nil one has no dial options and no observer.
type Process struct {
	sink sink

	mu     sync.Mutex
	leases map[int64]*lease.Lease
}

// sink is where the steps of a process go.
type sink interface {
	since() time.Duration // since it began
	note(what any)
}

func newProcess(s sink) *Process { return &Process{sink: s, leases: make(map[int64]*lease.Lease)} }

// Process adds one.
func (r *Run) Process() *Process { return newProcess(&member{r, r.process("")}) }

// process adds a process and returns its number.
func (r *Run) process(name string) (number int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, cmp.Or(name, fmt.Sprintf("process %d", len(r.names))))
	return len(r.names) - 1
}

// member is a process of this run.
type member struct {
	run    *Run
	number int
}

func (m *member) since() time.Duration { return clock.Now().Sub(m.run.began) }

func (m *member) note(what any) { m.run.add(m.number, m.since(), what) }

func (r *Run) add(process int, at time.Duration, what any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps = append(r.steps, step{process, at, what})
	if m, ok := what.(Message); ok {
		r.high = max(r.high, revisionOf(m.Response))
	}
}

// Message takes note of a message: one that is sent before that, one that is received
// before anybody acts on it.
func (p *Process) Message(m Message) { p.sink.note(m) }

// Claimed takes note of how long a lease says that it lasts.
func (p *Process) Claimed(id int64, remaining func() time.Duration) {
	p.sink.note(told{Kind: claimed, Lease: id, Deadline: p.deadline(remaining)})
}

// deadline is not later than the one that is claimed.
func (p *Process) deadline(remaining func() time.Duration) time.Duration {
	now := p.sink.since()
	return now + remaining()
}

// Observer takes note of what the process's session tells.
func (p *Process) Observer() lease.Observer {
	if p == nil {
		return lease.Observer{}
	}
	event := func(kind tale) func(lease.Event) {
		return func(e lease.Event) { p.tell(kind, e) }
	}
	return lease.Observer{
		Granted: event(granted), Released: event(released), Waited: event(waited),
		Changed: func(l *lease.Lease, _ lease.State) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.leases[int64(l.ID())] = l
		},
		Renewed: func(l *lease.Lease, _ time.Duration) { p.Claimed(int64(l.ID()), l.Remaining) },
	}
}

func (p *Process) tell(kind tale, e lease.Event) {
	t := told{Kind: kind, Key: e.Key, Revision: e.Revision, Via: e.Via, Reason: e.Reason, Lease: leaseOf(e.Key)}
	if l := p.lease(t.Lease); l != nil && kind == granted {
		t.Deadline = p.deadline(l.Remaining)
	}
	p.sink.note(t)
}

func (p *Process) lease(id int64) *lease.Lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leases[id]
}

// Steps returns how many there are.
func (r *Run) Steps() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.steps)
}

// Revision returns the highest revision that an answer had: the history has to reach it.
func (r *Run) Revision() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.high
}

// ViolationError is a step that the specification does not allow.
type ViolationError struct {
	// Step is its number.
	Step int
	// What says what was wrong.
	What string
	// Trail is what happened to the entry, or the lease, before.
	Trail []string
}

// Error says all of it.
func (v *ViolationError) Error() string {
	return fmt.Sprintf("step %d: %s\n\t%s", v.Step, v.What, strings.Join(v.Trail, "\n\t"))
}
