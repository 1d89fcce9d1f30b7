package watch

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/conclave-go/conclave/internal/attempt"
)

// errOverdue says that no watch was created in the time there was for it.
var errOverdue = errors.New("no watch was created in time")

// maxOpenings is how many watches are opened beside one another until one is created.
const maxOpenings = 7

// opening is what came of opening a watch.
type opening struct {
	leg *leg
	err error
}

// openings are the watches that are being opened, beside one another.
//
// A member that does not answer may be slow, or have vanished, so others are asked beside
// it and whoever answers first is taken. Which member is asked is up to clientv3, which has
// them take turns, for all calls of a client: the first is followed by two at a time, since
// calls that always come in pairs would lead to the same one of two members each time.
type openings struct {
	f        *follower
	revision int64
	results  chan opening
	pending  map[*leg]struct{}
	started  int
	own      bool // the first has a gRPC stream of its own
	spare    *leg // from the member that has just failed, if no other answers
}

// open returns a watch that delivers everything from revision on, or from its creation if
// that is 0.
func (f *follower) open(ctx context.Context, revision int64) (*leg, error) {
	o := &openings{f: f, revision: revision, results: make(chan opening, maxOpenings), pending: make(map[*leg]struct{})}
	defer o.abandon()
	o.start(ctx, 1)
	began, step := time.Now(), f.patience/10
	more := time.NewTicker(step - rand.N(step/4))
	defer more.Stop()
	overdue := time.NewTimer(f.patience)
	defer overdue.Stop()
	for {
		select {
		case got := <-o.results:
			delete(o.pending, got.leg)
			if w, err := o.judge(ctx, got); w != nil || err != nil {
				return w, err
			}
		case <-more.C:
			attempt.Redial(o.f.client)
			if o.spare != nil && time.Since(began) >= f.stall/2 {
				return o.takeSpare(), nil
			}
			if !o.queued(step) {
				o.doubt()
				o.start(ctx, 2)
			}
		case <-overdue.C:
			if !o.queued(step) {
				return nil, errOverdue
			}
			overdue.Reset(f.patience)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// start opens n watches more, as far as there may be as many.
func (o *openings) start(ctx context.Context, n int) {
	for range n {
		if o.started == maxOpenings {
			return
		}
		o.started++
		w := newLeg(ctx, o.take(ctx), o.revision)
		o.pending[w] = struct{}{}
		opts := o.f.options()
		go func() { o.results <- opening{w, w.create(o.f.keys.key, opts)} }() // ends when w is closed
	}
}

// take returns a line for the next watch. Beside one that has its own there may be twice as
// many of those.
func (o *openings) take(ctx context.Context) *line {
	if o.f.alone {
		return o.f.streams.takeAside()
	}
	most := MaxGRPCStreams
	if o.own {
		most *= 2
	}
	l := o.f.streams.take(ctx, most)
	o.own = o.own || o.started == 1 && l.own
	return l
}

// queued reports whether a watch waits on a shared line that is alive: clientv3 creates one
// at a time on a gRPC stream, so a queue of them may take long.
func (o *openings) queued(within time.Duration) bool {
	for w := range o.pending {
		if w.line.heard(within) != nil {
			return true
		}
	}
	return false
}

// doubt has those that get no gRPC stream of their own try another one.
func (o *openings) doubt() {
	for w := range o.pending {
		o.f.streams.replace(w.line)
	}
}

// judge returns the watch that was opened, or why there is none; neither if the others
// are to be waited for.
func (o *openings) judge(ctx context.Context, got opening) (*leg, error) {
	switch {
	case got.err == nil && o.spurned(got.leg):
		if o.spare != nil {
			o.spare.close()
		}
		o.spare = got.leg
		o.f.streams.replace(got.leg.line) // else the others were of the same member
		o.start(ctx, 2)
	case got.err == nil:
		return got.leg, nil
	case ctx.Err() != nil:
		got.leg.close()
		return nil, ctx.Err()
	default:
		// A shared gRPC stream keeps the token it was opened with, which may have expired.
		o.f.streams.replace(got.leg.line)
		got.leg.close()
		if !ofMember(got.err) {
			return nil, got.leg.line.attribute(got.err)
		}
		o.start(ctx, 1)
	}
	switch {
	case len(o.pending) > 0:
		return nil, nil //nolint:nilnil // neither yet
	case o.spare != nil:
		return o.takeSpare(), nil
	}
	return nil, got.err
}

// spurned reports whether a watch comes from the member that has just failed, while there
// may be others.
func (o *openings) spurned(w *leg) bool {
	failed := o.f.failed
	return failed != 0 && w.created.GetMemberId() == failed && len(o.f.client.Endpoints()) > 1
}

func (o *openings) takeSpare() *leg {
	w := o.spare
	o.spare = nil
	return w
}

// abandon closes all watches that were not taken.
func (o *openings) abandon() {
	if o.spare != nil {
		o.spare.close()
	}
	for w := range o.pending {
		w.close()
	}
}

// ofMember reports whether an error speaks of the state of the one member that was asked,
// so that another may answer at once: one that has no leader, is starting or learning.
func ofMember(err error) bool {
	for _, state := range []error{
		rpctypes.ErrNoLeader, rpctypes.ErrNotCapable, rpctypes.ErrStopped, rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner),
	} {
		if errors.Is(err, state) {
			return true
		}
	}
	return false
}
