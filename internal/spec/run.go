package spec

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

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

	mu    sync.Mutex
	began time.Time
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
	kind  tale
	event lease.Event
	now   time.Time
	// lease is the one that it is about, and deadline what that has said; zero if it was not
	// asked.
	lease    int64
	deadline time.Time
}

type tale int

const (
	granted tale = iota
	released
	waited
	claimed
)

// NewRun returns a run of which nothing has happened yet.
func NewRun() *Run { return &Run{Drift: lease.DefaultClockDrift, began: time.Now()} }

// Process is one of a run: a client, and a session on it.
type Process struct {
	run    *Run
	number int

	mu     sync.Mutex
	leases map[int64]*lease.Lease
}

// Process adds one.
func (r *Run) Process() *Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, fmt.Sprintf("process %d", len(r.names)))
	return &Process{run: r, number: len(r.names) - 1, leases: make(map[int64]*lease.Lease)}
}

// Message takes note of a message: one that is sent before that, one that is received
// before anybody acts on it.
func (p *Process) Message(m Message) { p.note(m) }

func (p *Process) note(what any) {
	r := p.run
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps = append(r.steps, step{p.number, time.Since(r.began), what})
	if m, ok := what.(Message); ok {
		r.high = max(r.high, revisionOf(m.Response))
	}
}

// Claimed takes note of what a lease says is its deadline.
func (p *Process) Claimed(id int64, deadline time.Time) {
	p.note(told{kind: claimed, now: time.Now(), lease: id, deadline: deadline})
}

// Observer takes note of what the process's session tells.
func (p *Process) Observer() lease.Observer {
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
		Renewed: func(l *lease.Lease, _ time.Duration) { p.Claimed(int64(l.ID()), l.Deadline()) },
	}
}

func (p *Process) tell(kind tale, e lease.Event) {
	t := told{kind: kind, event: e, now: time.Now(), lease: leaseOf(e.Key)}
	if l := p.lease(t.lease); l != nil && kind == granted {
		t.deadline = l.Deadline()
	}
	p.note(t)
}

func (p *Process) lease(id int64) *lease.Lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leases[id]
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
