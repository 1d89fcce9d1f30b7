package lease

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/clock"
	"github.com/conclave-go/conclave/internal/look"
)

const (
	// roundsPerTTL is how often a lease is renewed in one TTL.
	roundsPerTTL = 3
	// callsPerTTL sets for how long a call is waited for before another is made beside
	// it, which is the price of a member that has vanished: with three members every
	// third call goes to it, and eight or nine have to fail in a row for the lease to be
	// lost.
	callsPerTTL = 10
	// minCall is the least such patience.
	minCall = 250 * time.Millisecond
	// lastShare is the part of the time left that a call is waited for at most, so that
	// short TTLs and the end of long ones have several calls, too.
	lastShare = 3
	// firstPause is the wait after a round that has failed, and doubles with each until
	// it is a share of the TTL, with the default TTL half a second: another member may
	// answer at once, and in an outage there are ten to twenty attempts.
	firstPause, pausesPerTTL = 20 * time.Millisecond, 20
	// hurryPause is the least time between the beginnings of rounds that are asked for.
	hurryPause = 100 * time.Millisecond
)

var errOverdue = errors.New("no answer to a renewal in time")

// keep renews the lease until it ends and then revokes it. It is the lease's only
// lasting goroutine.
func (l *Lease) keep() {
	defer close(l.done)
	//nolint:forbidigo // not a deadline: the client's end is the lease's
	stop := context.AfterFunc(l.client.Ctx(), func() { l.lose(errClientClosed) })
	defer stop()
	k := newKeeper(l)
	k.run()
	ended := k.end()
	l.look.End()
	if !l.left() {
		l.revoke()
	}
	ended()
}

// keeper has a lease renewed, a round at a time while all is well: a third of the TTL
// after the last. A round that is not confirmed in time is not given up, because a slow
// answer still counts until the deadline of its own renewal; the next begins beside
// it. Its fields belong to one goroutine.
type keeper struct {
	lease   *Lease
	renewer *renewer
	ctx     context.Context // that of the rounds
	cancel  context.CancelFunc
	running sync.WaitGroup
	results chan result

	next   *time.Timer
	due    clock.Instant // when next fires
	begun  clock.Instant // when the last round began
	rounds []*round      // that are not confirmed, the oldest first
	pause  time.Duration // before the next round, should one fail
	// hurried is set while another round is asked for when the present one is done, and
	// answered is when the last began that was asked for.
	hurried  bool
	answered clock.Instant
}

// round is one renewal and the look that confirms it.
type round struct {
	known      int64 // the revision that the session had seen when it began
	start      clock.Instant
	wall       time.Time
	superseded atomic.Bool // one that began later is confirmed
}

// result is what came of a round.
type result struct {
	round *round
	answer
	err error
}

// answer is what a confirmed round has brought.
type answer struct {
	ttl     time.Duration
	cluster uint64 // that has answered the look, and the revision of its store
	rev     int64
}

func newKeeper(l *Lease) *keeper {
	//nolint:forbidigo // rounds may outlive the lease for a moment, see end
	ctx, cancel := context.WithCancel(context.Background())
	k := &keeper{lease: l, renewer: renewerOf(l.client), ctx: ctx, cancel: cancel, results: make(chan result), pause: firstPause}
	k.begun = clock.Now().Add(-l.SinceRenewal())
	k.answered = clock.Now().Add(-hurryPause)
	k.next = time.NewTimer(0)
	k.schedule(k.begun.Add(l.ttl / roundsPerTTL))
	return k
}

// run has the lease renewed until it ends.
func (k *keeper) run() {
	defer k.next.Stop()
	for {
		select {
		case <-k.next.C:
			k.timely()
		case <-k.lease.look.Hurried():
			k.hurry(hurryPause)
		case <-k.lease.look.Wanted():
			k.hurry(k.lease.patience())
		case r := <-k.results:
			k.note(r)
		case <-k.lease.ctx.Done():
			return
		}
	}
}

// end ends the rounds, and the returned function waits for them. They have a little time
// to end by themselves: clientv3 logs each request that is cancelled.
func (k *keeper) end() (wait func()) {
	timer := time.AfterFunc(k.lease.patience(), k.cancel)
	return func() {
		k.running.Wait()
		timer.Stop()
		k.cancel()
		k.renewer.release()
	}
}

// schedule has the next round begin at an instant.
func (k *keeper) schedule(at clock.Instant) {
	k.due = at
	k.next.Reset(max(clock.Until(at), 0))
}

// timely begins the round that was scheduled.
func (k *keeper) timely() {
	if k.hurried {
		k.hurried, k.answered = false, clock.Now()
	}
	k.begin()
}

// begin begins a round, beside those that are not confirmed.
func (k *keeper) begin() {
	l := k.lease
	attempt.Redial(l.client)
	if len(k.rounds) > 0 && l.SinceRenewal() >= l.overdue() {
		l.failed(errOverdue)
	}
	r := &round{known: l.cfg.store.revision(), start: clock.Now(), wall: time.Now()}
	k.begun = r.start
	k.rounds = append(k.rounds, r)
	k.schedule(r.start.Add(l.patience()))
	k.running.Go(func() { k.do(r) })
}

// hurry begins a round soon, because one is asked for: at least as long after the last
// that was. Those that ask while one is under way, or too early, share the next.
func (k *keeper) hurry(after time.Duration) {
	soon := k.answered.Add(after)
	switch {
	case len(k.rounds) > 0:
		k.hurried = true
	case clock.Until(soon) <= 0:
		k.hurried, k.answered = false, clock.Now()
		k.begin()
	case soon < k.due:
		k.hurried = true
		k.schedule(soon)
	}
}

// note takes note of what came of a round.
func (k *keeper) note(r result) {
	l := k.lease
	newest := r.round.start == k.begun
	k.rounds = slices.DeleteFunc(k.rounds, func(x *round) bool { return x == r.round })
	switch {
	case r.err == nil:
		k.confirmed(r)
	case errors.Is(r.err, errUnknown):
		l.lose(r.err)
	case r.round.superseded.Load():
	default:
		l.failed(r.err)
		if newest {
			k.schedule(r.round.start.Add(attempt.Spread(k.pause)))
			k.pause = min(2*k.pause, l.ttl/pausesPerTTL)
		}
	}
}

// confirmed moves the deadline. Rounds that began earlier are not needed any more.
func (k *keeper) confirmed(r result) {
	l := k.lease
	k.pause = firstPause
	l.seen(r)
	if l.extend(r.round.start, r.round.wall, r.ttl) && l.cfg.observer.Renewed != nil {
		l.cfg.observer.Renewed(l, clock.Now().Sub(r.round.start))
	}
	k.rounds = slices.DeleteFunc(k.rounds, func(x *round) bool {
		before := x.start < r.round.start
		if before {
			x.superseded.Store(true)
		}
		return before
	})
	switch {
	case len(k.rounds) > 0: // the next begins when the newest is overdue
	case k.hurried:
		k.schedule(k.answered.Add(hurryPause))
	default:
		k.schedule(r.round.start.Add(l.ttl / roundsPerTTL))
	}
	if l.cfg.session != nil {
		l.cfg.session.tidy(l)
	}
}

// do makes a round, and reports the result.
func (k *keeper) do(r *round) {
	l := k.lease
	// After that its answer would be of no use.
	ctx, cancel := context.WithTimeoutCause(k.ctx, l.ttl, errOverdue)
	defer cancel()
	found, pass, err := k.renew(ctx, r)
	select {
	case k.results <- result{r, found, err}:
	case <-l.ctx.Done():
		return
	}
	if err != nil {
		return
	}
	// A long look must not hold up the deadline: the first step has confirmed it. What is urgent
	// is done even if there is no time for more.
	early := func() bool { return clock.Now().Sub(r.start) < l.ttl/roundsPerTTL }
	for !pass.Done() && !r.superseded.Load() && l.ctx.Err() == nil && (pass.Urgent() || early()) {
		if pass.Next(ctx, l.patience()) != nil {
			return // the next look begins anew
		}
	}
}

// renew makes one attempt: a keep-alive, and the look that confirms it. A leader
// that was deposed and does not know it yet still answers keep-alives; the look is
// linearizable, so it cannot come from the same term if there is a newer one. Such an
// acknowledgement must not move the deadline, and if the answer is that there is no such
// lease the new leader may have one.
func (k *keeper) renew(ctx context.Context, r *round) (found answer, pass *look.Look, err error) {
	k.lease.look.Renewing()
	acked, err := k.renewer.renew(ctx, k.lease.id, k.lease.patience())
	unknown := errors.Is(err, errUnknown)
	switch {
	case err != nil && !unknown:
		return answer{}, nil, err
	case r.superseded.Load(), k.lease.ctx.Err() != nil:
		return answer{}, nil, errOverdue
	}
	pass = k.lease.look.Begin(k.lease.client, k.lease.id)
	confirm := pass.Step
	if unknown { // the keys have gone with the lease, which is what their users are to hear
		confirm = pass.Term
	}
	term, err := confirm(attempt.RequireLeader(ctx))
	switch {
	case err != nil:
		return answer{}, pass, err
	case term > acked.term:
		k.renewer.distrust(acked.stream)
		return answer{}, pass, errDeposed
	case unknown:
		return answer{}, pass, errUnknown
	}
	cluster, rev := pass.Answer()
	return answer{acked.ttl, cluster, rev}, pass, nil
}

// patience is how long an answer is waited for before another attempt is made beside: a
// part of what is left when that is little.
func (l *Lease) patience() time.Duration {
	return min(max(l.ttl/callsPerTTL, minCall), max(l.Remaining()/lastShare, l.ttl/pausesPerTTL))
}

// overdue is how old the last confirmed renewal is when another should have been
// confirmed long since.
func (l *Lease) overdue() time.Duration {
	return l.ttl/roundsPerTTL + min(l.ttl/callsPerTTL, minCall)
}

// revoke removes the lease from the server. It is tried for one TTL, after which
// the server has expired it: a renewal sent before the end may have extended it
// to just that. After a closed client there is nothing to try with.
func (l *Lease) revoke() {
	//nolint:forbidigo // as in keep
	ctx, cancel := context.WithTimeout(l.client.Ctx(), l.ttl)
	defer cancel()
	_, err := attempt.Hedge(ctx, attempt.Limits{Patience: l.revokePatience()}, func(ctx context.Context) (struct{}, error) {
		// client.Revoke would wait for a connection.
		_, err := pb.NewLeaseClient(l.client.ActiveConnection()).LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: int64(l.id)})
		return struct{}{}, rpctypes.Error(err)
	})
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		l.cfg.log.Warn("lease: not revoked; it expires by itself", "lease", l.hex(), "error", err)
	}
}

// revokePatience is how long an answer to a revocation is waited for before another attempt is
// made beside: so that there are several in the grace, if somebody waits.
func (l *Lease) revokePatience() time.Duration {
	patience := max(l.ttl/callsPerTTL, minCall)
	if l.State() == Closed {
		return attempt.Within(l.cfg.grace, patience)
	}
	return patience
}
