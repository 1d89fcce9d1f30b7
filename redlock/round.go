package redlock

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/clock"
)

// round collects what the nodes answer to one operation, and is decided as soon as the
// rest does not matter, or after the node timeout. It does not need anybody to wait.
type round struct {
	task
	m       *Mutex
	claim   *claim
	timeout time.Duration // for one node
	decided chan struct{}

	// These are set when the round starts, before anything is sent.
	asks   []bool // the nodes that it asks, nil for all
	lanes  []bool // of an extension: the claim's lanes in which it has a place
	start  clock.Instant
	wall   time.Time
	ctx    callContext // of the calls
	cancel context.CancelFunc

	// These are guarded by the overdues.
	place *list.Element
	due   time.Time

	mu      sync.Mutex
	answers []answer // no longer changed once over is set
	parts   []part   // by node, also after that
	over    bool
	late    bool // the node timeout is over; who had not answered was told to have failed
	settled bool // others were told that all is done, or late
	agreed  int  // nodes that did as asked, late ones included
	left    int  // nodes with which something goes on
}

// part is how far a node is with its part in a round.
type part struct {
	answered   bool
	connecting bool
	hangs      bool      // that was noted
	since      time.Time // when its connection was there, zero if it had one
}

// task is what a round does.
type task struct {
	op      string
	request request
	judge   judge
	// at does a node's part.
	at func(c *claim, r *round, node int)
	// confirmed is called when a quorum has done as asked, be it after the round was
	// decided. It may be nil.
	confirmed func(r *round)
	// urgent tasks wait neither for others to be done nor for a node that does not
	// answer, and their answers count for as long as the lock is valid.
	urgent bool
}

// newRound returns a round, which must be started. Its calls have the values of ctx but
// not its end: a call whose outcome is not awaited must be removed again.
func newRound(ctx context.Context, c *claim, t task, timeout time.Duration) *round {
	n := len(c.lanes)
	r := &round{
		task: t, m: c.m, claim: c, timeout: timeout,
		decided: make(chan struct{}), answers: make([]answer, n), parts: make([]part, n), left: n,
	}
	within, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.ctx.Context, r.cancel = within, cancel //nolint:fatcontext // once
	return r
}

// begin starts the round, now or when others are done.
func (r *round) begin() {
	if r.urgent {
		r.launch()
		return
	}
	r.m.nodes.admission.enter(r)
}

// launch starts the round now.
func (r *round) launch() {
	r.mu.Lock()
	r.start, r.wall = clock.Now(), time.Now()
	r.mu.Unlock()
	r.ctx.deadline = r.wall.Add(r.m.callTimeout())
	if r.urgent {
		r.ctx.deadline = r.wall.Add(r.m.validity())
	}
	r.m.nodes.overdues.add(r, r.wall.Add(r.timeout))
	over := r.claim.ended(r.op)
	for i := range r.parts {
		switch {
		case over: // while the round waited for its turn
			r.answer(i, answer{state: NodeFailed, err: errGivenUp})
			r.done(i)
		case r.op == opRelease && r.claim.clean(i):
			r.answer(i, answer{state: NodeMissing})
			r.done(i)
		case r.asks != nil && !r.asks[i] && r.op == opAcquire:
			r.answer(i, answer{state: NodeFailed, err: errBusy})
			r.done(i)
		default:
			r.m.nodes.workers.run(job{r, i})
		}
	}
}

// visit does node i's part.
func (r *round) visit(i int) {
	defer r.done(i)
	r.at(r.claim, r, i)
}

// answer notes what node i has answered.
func (r *round) answer(i int, a answer) {
	r.mu.Lock()
	if !r.late {
		r.tell(i, a)
	}
	r.parts[i].answered = true
	if a.state == NodeGranted {
		r.agree()
	}
	if !r.over {
		r.answers[i] = a
		if r.judge(count(r.answers), r.m.nodes.quorum()) {
			r.decide()
		}
	}
	r.mu.Unlock()
}

// agree notes that a node did as asked. mu must be held.
func (r *round) agree() {
	r.agreed++
	if r.agreed == r.m.nodes.quorum() {
		r.m.nodes.took.Store(int64(time.Since(r.wall)))
		if r.confirmed != nil {
			r.confirmed(r)
		}
	}
}

// settle tells others, once, that all is done or late.
func (r *round) settle() {
	r.mu.Lock()
	first := !r.settled
	r.settled = true
	r.mu.Unlock()
	if first && r.op == opRelease {
		r.m.nodes.asked()
	}
}

// overdue decides the round without the nodes that have not answered, unless some of
// them need more time, and later notes which of them hang and ends the calls. It returns
// when there is more to do, zero if never.
func (r *round) overdue() (next time.Time) {
	now := time.Now()
	r.mu.Lock()
	if !r.late {
		if until := r.extra(now); !until.IsZero() {
			r.mu.Unlock()
			return until
		}
		r.expire()
	}
	next = r.silence(now)
	r.mu.Unlock()
	r.settle()
	r.m.nodes.admission.look() // nodes may be silent now
	if r.urgent && r.ctx.deadline.After(now) {
		return sooner(next, r.ctx.deadline)
	}
	r.cancel()
	return next
}

// expire decides the round. mu must be held.
func (r *round) expire() {
	r.late = true
	for i, p := range r.parts {
		if p.answered {
			continue
		}
		a := answer{state: NodeFailed, err: errOverdue}
		r.tell(i, a)
		if !r.over {
			r.answers[i] = a
		}
	}
	if !r.over {
		r.decide()
	}
}

// silence notes the nodes from which also a round that is given the time of [Nodes] would
// not have had an answer: this one may belong to a mutex with a shorter TTL. It returns when
// that will be so for others, zero if there are none. A connection that is still being made
// is no excuse then: it takes the place of a call, and others would wait for that. mu must
// be held.
func (r *round) silence(now time.Time) (next time.Time) {
	for i, p := range r.parts {
		if p.answered || p.hangs {
			continue
		}
		n := r.m.nodes.list[i]
		start, due := r.start, r.wall.Add(n.timeout)
		switch {
		case p.connecting:
			due = r.wall.Add(connectTimeouts * n.timeout)
		case !p.since.IsZero():
			start, due = start.Add(p.since.Sub(r.wall)), p.since.Add(n.timeout)
		}
		if due.After(now) {
			next = sooner(next, due)
			continue
		}
		r.parts[i].hangs = true
		n.hangs(start)
	}
	return next
}

// sooner returns the earlier of two times, of which the first may be zero for never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// extra returns until when to wait for nodes to which a connection had to be made, zero if
// there are none. Nobody waits for a node that is known not to answer. mu must be held.
func (r *round) extra(now time.Time) (until time.Time) {
	if r.over {
		return time.Time{}
	}
	most := r.wall.Add(min(connectTimeouts*r.timeout, r.m.cfg.ttl/roundsPerTTL))
	for i, p := range r.parts {
		due := r.wall.Add(r.timeout)
		switch {
		case p.answered || r.m.nodes.list[i].isSilent():
			continue
		case p.connecting:
			due = now.Add(r.timeout)
		case !p.since.IsZero():
			due = p.since.Add(r.timeout)
		}
		if due.After(most) {
			due = most
		}
		if due.After(now) && due.After(until) {
			until = due
		}
	}
	return until
}

// connect makes a connection to node i, whose time counts from when it is there.
func (r *round) connect(i int) error {
	r.mu.Lock()
	r.parts[i].connecting = true
	r.mu.Unlock()
	err := r.m.nodes.list[i].connect(r.ctx.Context, r.m.key)
	r.mu.Lock()
	r.parts[i].connecting, r.parts[i].since = false, time.Now()
	r.mu.Unlock()
	return err
}

// ask runs a script on node i. certain reports whether that was done with when ask
// returned: with a reply to the only request, or without having sent one. Otherwise a
// request may still arrive. ask may last longer than the node timeout.
func (r *round) ask(ctx context.Context, i int, s script, q request) (reply any, certain bool, err error) {
	n := r.m.nodes.list[i]
	v, err := n.enter(ctx, r.m.key, r.urgent)
	if err != nil {
		return nil, true, err
	}
	defer func() {
		n.leave(v, err)
		n.lookAgain(ctx, err)
	}()
	if v.cold {
		if err := r.connect(i); err != nil {
			return nil, true, err
		}
		v.start = clock.Now()
		if r.claim.ended(r.op) {
			return nil, true, errGivenUp
		}
	}
	if v.cold && !r.urgent {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.m.callTimeout())
		defer cancel()
		ctx = within
	}
	return n.call(ctx, s, q)
}

// tell tells observers what node i has answered, if that is a failure.
func (r *round) tell(i int, a answer) { r.m.nodes.cfg.failure(r.m.nodes.list[i].name, r.op, a) }

// decide freezes the answers. mu must be held.
func (r *round) decide() {
	r.over = true
	switch {
	case r.unreachable() && !r.failing(): // that says nothing of the nodes
	case r.unreachable():
		r.m.nodes.cfg.noQuorum(r.op)
		r.m.nodes.outage.begins(r.failure())
	case r.op != opRelease || r.granted(): // nodes without the key were not asked
		r.m.nodes.outage.ends()
	}
	close(r.decided)
}

// reserve reports whether the round may make a call to node i.
func (r *round) reserve(i int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asks[i] = r.asks[i] || r.m.nodes.admission.try(i)
	return r.asks[i]
}

// free lets others make a call to node i.
func (r *round) free(i int) {
	r.mu.Lock()
	had := r.asks != nil && r.asks[i]
	if had {
		r.asks[i] = false
	}
	r.mu.Unlock()
	if had {
		r.m.nodes.admission.leave(i)
	}
}

// done is called when node i's part has been done.
func (r *round) done(i int) {
	r.free(i)
	r.mu.Lock()
	r.left--
	last := r.left == 0
	r.mu.Unlock()
	if !last {
		return
	}
	r.m.nodes.overdues.remove(r)
	r.cancel()
	if r.op == opRelease {
		r.m.nodes.removed()
	}
	r.settle()
}

// wait returns when the round is decided, or with ctx's error.
func (r *round) wait(ctx context.Context) error {
	if r.isDecided() {
		return nil
	}
	select {
	case <-r.decided:
		return nil
	case <-ctx.Done():
		return ended(ctx, nil)
	}
}

// isDecided reports whether the round, which may be nil, is no longer awaited.
func (r *round) isDecided() bool {
	if r == nil {
		return true
	}
	select {
	case <-r.decided:
		return true
	default:
		return false
	}
}

// The following are for decided rounds.

func (r *round) tally() tally { return count(r.answers) }

// granted reports whether a quorum did as asked.
func (r *round) granted() bool { return r.tally().granted >= r.m.nodes.quorum() }

// lost reports whether no quorum can have the key.
func (r *round) lost() bool { return lost(r.tally(), r.m.nodes.quorum()) }

// unreachable reports whether too many nodes failed for a quorum of the others.
func (r *round) unreachable() bool {
	t := r.tally()
	return t.failed+t.refused > r.spare()
}

// failing reports whether that is so although the request was sent to all, or would have
// been.
func (r *round) failing() bool {
	n := 0
	for _, a := range r.answers {
		if (a.state == NodeFailed || a.state == NodeRefused) && !errors.Is(a.err, errGivenUp) {
			n++
		}
	}
	return n > r.spare()
}

// spare is how many nodes a quorum can do without.
func (r *round) spare() int { return len(r.answers) - r.m.nodes.quorum() }

// hopeless reports whether that is so because of errors that do not go away.
func (r *round) hopeless() bool {
	n := 0
	for i, a := range r.answers {
		if a.state == NodeFailed && !r.m.nodes.list[i].passing(a.err) {
			n++
		}
	}
	return n > r.spare()
}

// held reports whether one other acquisition has so many nodes that there is no quorum
// without them. Otherwise several are at it at this moment.
func (r *round) held() bool {
	_, n := r.owner()
	return n > r.spare()
}

// owner returns the value of the key that most of the nodes have, and how many do.
func (r *round) owner() (owner string, nodes int) {
	for _, a := range r.answers {
		n := 0
		for _, b := range r.answers {
			if a.state == NodeLocked && b.state == NodeLocked && a.owner == b.owner {
				n++
			}
		}
		if n > nodes {
			owner, nodes = a.owner, n
		}
	}
	return owner, nodes
}

// remaining is how long until a quorum is free if nobody extends its keys, 0 if that
// is not known.
func (r *round) remaining() time.Duration {
	var free []time.Duration
	for _, a := range r.answers {
		switch {
		case a.state == NodeGranted || a.state == NodePending:
			free = append(free, 0)
		case a.state == NodeLocked && a.left > 0:
			free = append(free, a.left)
		}
	}
	if len(free) < r.m.nodes.quorum() {
		return 0
	}
	slices.Sort(free)
	return free[r.m.nodes.quorum()-1]
}

// endless returns the nodes whose key never expires, if there is no quorum without them.
func (r *round) endless() []string {
	var all []string
	for i, a := range r.answers {
		if a.state == NodeLocked && a.left == 0 {
			all = append(all, r.m.nodes.list[i].name)
		}
	}
	if len(all) <= r.spare() {
		return nil
	}
	return all
}

// locked is the error for a round that found the lock taken.
func (r *round) locked() *LockedError {
	owner, _ := r.owner()
	return &LockedError{Name: r.m.name, Key: r.m.key, Owner: owner, Remaining: r.remaining(), NoExpiry: r.endless()}
}

// reason says why a round has not granted the lock.
func (r *round) reason() error {
	if r.unreachable() {
		return r.failure()
	}
	return r.locked()
}

// state is the error for a round that is not decided and should have been.
func (r *round) state() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.wall.IsZero() || time.Since(r.wall) < r.m.cfg.timeout {
		return nil
	}
	e := r.failure()
	for i, p := range r.parts {
		if p.connecting {
			e.Nodes[i].Err = errConnecting
		}
	}
	return e
}

// failure is the error for a round without a quorum.
func (r *round) failure() *QuorumError {
	e := &QuorumError{Op: r.op, Name: r.m.name, Quorum: r.m.nodes.quorum()}
	for i, a := range r.answers {
		e.Nodes = append(e.Nodes, NodeStatus{Node: r.m.nodes.list[i].name, State: a.state, Err: a.err})
	}
	return e
}

// ended is the error of a call given up because ctx is done: ctx's own, its cause, and
// what the last attempt failed with.
func ended(ctx context.Context, last error) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	if last == nil {
		return err
	}
	return fmt.Errorf("%w (last attempt: %w)", err, last)
}
