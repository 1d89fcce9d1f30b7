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
	start   clock.Instant // before anything was sent
	wall    time.Time
	decided chan struct{}
	ctx     callContext // of the calls
	cancel  context.CancelFunc
	place   *list.Element // among the overdues

	mu      sync.Mutex
	answers []answer // no longer changed once over is set
	// answered says by node whether it has, also after that was decided.
	answered []bool
	over     bool
	late     bool // the node timeout is over; who had not answered was told to have failed
	left     int  // nodes with which something goes on
}

// task is what a round does.
type task struct {
	op      string
	request request
	judge   judge
	// at does a node's part.
	at func(c *claim, r *round, node int)
}

// newRound returns a round, which must be started. Its calls have the values of ctx but
// not its end: a call whose outcome is not awaited must be removed again.
func newRound(ctx context.Context, c *claim, t task) *round {
	n := len(c.lanes)
	r := &round{
		task: t, m: c.m, claim: c, start: clock.Now(), wall: time.Now(),
		decided: make(chan struct{}), answers: make([]answer, n), answered: make([]bool, n), left: n,
	}
	within, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.ctx, r.cancel = callContext{within, r.wall.Add(c.m.nodes.cfg.timeout)}, cancel
	c.m.nodes.overdues.add(r)
	return r
}

// begin lets a worker do node i's part.
func (r *round) begin(i int) { r.m.nodes.workers.run(errand{r, i}) }

// visit does node i's part.
func (r *round) visit(i int) {
	defer r.done()
	r.at(r.claim, r, i)
}

// answer notes what node i has answered.
func (r *round) answer(i int, a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.late {
		r.answered[i] = true
		r.tell(i, a)
	}
	if r.over {
		return
	}
	r.answers[i] = a
	if r.judge(count(r.answers), r.m.nodes.quorum()) {
		r.decide()
	}
}

// overdue decides the round without the nodes that have not answered.
func (r *round) overdue() {
	defer r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late = true
	for i := range r.answers {
		if !r.answered[i] {
			r.tell(i, answer{state: NodeFailed, err: errOverdue})
		}
	}
	if r.over {
		return
	}
	for i := range r.answers {
		if r.answers[i].state == NodePending {
			r.answers[i] = answer{state: NodeFailed, err: errOverdue}
			r.m.nodes.list[i].hangs(r.start)
		}
	}
	r.decide()
}

// tell tells observers what node i has answered, if that is a failure.
func (r *round) tell(i int, a answer) { r.m.nodes.cfg.failure(r.m.nodes.list[i].name, r.op, a) }

// decide freezes the answers. mu must be held.
func (r *round) decide() {
	r.over = true
	if r.unreachable() {
		r.m.nodes.cfg.noQuorum(r.op)
	}
	close(r.decided)
}

// done is called when a node's part has been done.
func (r *round) done() {
	r.mu.Lock()
	r.left--
	last := r.left == 0
	r.mu.Unlock()
	if last {
		r.m.nodes.overdues.remove(r)
		r.cancel()
	}
}

// wait returns when the round is decided, or with ctx's error.
func (r *round) wait(ctx context.Context) error {
	select {
	case <-r.decided:
		return nil
	default:
	}
	select {
	case <-r.decided:
		return nil
	case <-ctx.Done():
		return ended(ctx, nil)
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
	return t.failed+t.refused > len(r.answers)-r.m.nodes.quorum()
}

// hopeless reports whether that is so because of errors that do not go away.
func (r *round) hopeless() bool {
	n := 0
	for _, a := range r.answers {
		if a.state == NodeFailed && !passing(a.err) {
			n++
		}
	}
	return n > len(r.answers)-r.m.nodes.quorum()
}

// held reports whether one other acquisition has so many nodes that there is no quorum
// without them. Otherwise several are at it at this moment.
func (r *round) held() bool {
	for _, a := range r.answers {
		n := 0
		for _, b := range r.answers {
			if a.state == NodeLocked && b.state == NodeLocked && a.owner == b.owner {
				n++
			}
		}
		if n > len(r.answers)-r.m.nodes.quorum() {
			return true
		}
	}
	return false
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
