package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/inside"
)

// Run stands for election and calls lead when elected. lead's context derives from ctx and
// ends with the term; lead must return soon after. Only then is the leadership given up,
// and no two calls of Run with one session and name have a lead running at once. If one is
// elected while the lead of another has not returned, it waits for that for a TTL, as long
// as a crash would cost, and then resigns, so that others can lead; it stands again when
// that lead has returned.
//
//   - lead returns nil: Run resigns and returns nil.
//   - lead returns an error: Run resigns and returns it, or goes on, see [WithRetry].
//   - The term is lost: Run waits for lead and campaigns again, whatever lead returned.
//   - The health check fails: the same, after it has resigned, see [WithHealthCheck].
//   - ctx ends: Run waits for lead, resigns and returns ctx's error, joined with lead's if
//     that is a different one.
//   - lead panics: Run resigns and lets the panic go on.
//
// If lead itself resigns or transfers its term, only what it returns counts. Run waits for
// the resignation even if ctx is done, for at most the session's grace, see
// [lease.WithGrace]; after that it goes on in the background. The grace does not limit the
// time that lead takes to return.
//
// Run also returns the errors of [Election.Campaign] besides ctx's: when the session
// has been closed or the server refuses.
func (e *Election) Run(ctx context.Context, value string, lead func(ctx context.Context, t *Term) error) error {
	if lead == nil {
		return errors.New("election: lead is nil: must be a function")
	}
	if err := errors.Join(checkContext(ctx), e.cfg.checkValue(value)); err != nil {
		return err
	}
	r := &runner{election: e, value: value, lead: lead, health: newHealth(e.cfg.check)}
	defer r.health.close()
	for {
		again, err := r.round(ctx)
		if !again {
			return err
		}
	}
}

// runner is one call of Run.
type runner struct {
	election *Election
	value    string
	lead     func(ctx context.Context, t *Term) error
	health   *health
	// won is when the last terms began, as many as the limit has to know.
	won []time.Time
	// pause was made after lead's last error, 0 if there was none.
	pause time.Duration
	// after is when the candidate may be back, after an error of lead's.
	after time.Time
	// barred is set if the last term was not led, because the lead of another Run had
	// not returned.
	barred bool
}

// round campaigns once, leads if elected, and reports whether Run goes on or, if not,
// what it returns.
func (r *runner) round(ctx context.Context) (again bool, err error) {
	if r.prepare(ctx); ctx.Err() != nil {
		return false, r.over(ctx, nil)
	}
	well, stop := r.health.attend(ctx)
	defer stop()
	t, err := r.election.campaign(well, r.value)
	switch {
	case err == nil:
		return r.serve(ctx, well, t)
	case ctx.Err() == nil && well.Err() != nil:
		r.election.log().Warn("election: candidate left the queue", "cause", context.Cause(well))
		return true, err
	default:
		return false, err
	}
}

// prepare waits until the candidate may be in the election, and is well. It leaves it to
// the campaign to say that the session or the client was closed meanwhile.
func (r *runner) prepare(ctx context.Context) {
	session := r.election.queue.Session
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(inside.Of(session).Context(), cancel)
	defer stop()
	stopped := context.AfterFunc(session.Client().Ctx(), cancel) //nolint:forbidigo // no deadline: Run ends with it
	defer stopped()
	_ = waitUntil(ctx, r.mayReturn()) && r.unbarred(ctx) && r.health.recovered(ctx)
}

// serve leads for a term. well is ctx, ended also by the health check.
func (r *runner) serve(ctx, well context.Context, t *Term) (again bool, err error) {
	began := time.Now()
	r.won = r.election.cfg.limit.won(r.won, began)
	r.election.log().Info("election: elected", "term", t.Token())
	led, resigned := r.hold(ctx, well, t)
	r.election.log().Info("election: stepped down", "term", t.Token(), "cause", t.Err(), "result", led)
	switch {
	case ctx.Err() != nil:
		return false, r.over(ctx, led)
	case errors.Is(resigned, ErrLost), well.Err() != nil, r.barred:
		return true, resigned
	case led == nil || r.election.cfg.retry == nil:
		return false, led
	}
	r.pause = r.election.cfg.retry.after(r.pause, time.Since(began))
	r.after = time.Now().Add(jittered(r.pause))
	return true, nil
}

// mayReturn returns when the candidate may be back in the election.
func (r *runner) mayReturn() time.Time {
	if next := r.election.cfg.limit.next(r.won); next.After(r.after) {
		return next
	}
	return r.after
}

// hold calls lead while the term lasts, and resigns when it has returned or panicked.
func (r *runner) hold(ctx, well context.Context, t *Term) (led, resigned error) {
	defer func() { resigned = r.resign(ctx, t) }()
	within, cancel := t.With(well)
	defer cancel()
	if within.Err() != nil {
		return nil, nil
	}
	if r.barred = !r.admitted(within, t.grant.TTL()); r.barred {
		if within.Err() == nil {
			r.election.log().Warn("election: another lead of this process has not returned; resigning", "term", t.Token())
		}
		return nil, nil
	}
	defer func() { <-r.election.local.leading }()
	if within.Err() != nil {
		return nil, nil
	}
	return r.lead(within, t), nil
}

// admitted takes the session's right to have a lead running, and reports whether it could
// in time: a lead that has transferred its term within the process, or was lost, returns
// soon, though it may hear of a loss only with the next look.
func (r *runner) admitted(ctx context.Context, within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case r.election.local.leading <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// unbarred waits until the lead has returned because of which the last term was not led,
// and reports whether ctx is still going.
func (r *runner) unbarred(ctx context.Context) bool {
	if !r.barred {
		return true
	}
	select {
	case r.election.local.leading <- struct{}{}:
		<-r.election.local.leading
		r.barred = false
		return true
	case <-ctx.Done():
		return false
	}
}

// resign gives up the leadership, and waits for that no longer than the grace period.
func (r *runner) resign(ctx context.Context, t *Term) error {
	ctx, done := t.grant.Graced(ctx) // which knows that there is no point in waiting
	defer done()
	ctx, cancel := context.WithTimeout(ctx, r.election.grace())
	defer cancel()
	err := t.release(ctx)
	if err != nil && !errors.Is(err, ErrLost) {
		r.election.log().Warn("election: resignation not confirmed", "term", t.Token(), "error", err)
	}
	return err
}

// over returns the error of a Run whose ctx has ended, after lead returned led.
func (r *runner) over(ctx context.Context, led error) error {
	err := attempt.Ended(ctx, nil)
	if led == nil || errors.Is(err, led) || errors.Is(led, ctx.Err()) {
		return fmt.Errorf("election: running for %q: %w", r.election.queue.Name, err)
	}
	return fmt.Errorf("election: running for %q: %w; lead: %w", r.election.queue.Name, err, led)
}
