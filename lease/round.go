package lease

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/clock"
	"github.com/conclave-go/conclave/internal/look"
)

const (
	// roundsPerTTL is how often a lease is renewed in one TTL.
	roundsPerTTL = 3
	// callsPerTTL sets the timeout of one call, which is the price of a member
	// that has vanished: with three members every third call goes to it, and
	// eight or nine calls have to fail in a row for the lease to be lost.
	callsPerTTL = 10
	// minCall is the least such timeout: a slow cluster's answer still comes.
	minCall = 250 * time.Millisecond
	// lastShare is the part of the time left that a call may take at most, so
	// that short TTLs and the end of long ones have several calls, too.
	lastShare = 3
	// pausesPerTTL sets the wait between failed attempts: with the default TTL
	// half a second, and ten to fourteen attempts in an outage.
	pausesPerTTL = 20
)

// keep renews the lease until it ends and then revokes it. It is the lease's only
// lasting goroutine and owns the keep-alive stream.
func (l *Lease) keep() {
	defer close(l.done)
	//nolint:forbidigo // not a deadline: the client's end is the lease's
	stop := context.AfterFunc(l.client.Ctx(), func() { l.lose(errClientClosed) })
	defer stop()
	stream := &keepAlive{client: l.client, id: l.id}
	defer stream.close()
	next := time.NewTimer(l.ttl / roundsPerTTL)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			next.Reset(l.round(stream))
		case <-l.look.Hurried():
			next.Reset(l.round(stream))
		case <-l.ctx.Done():
			stream.close()
			l.look.End()
			if !l.left() {
				l.revoke()
			}
			return
		}
	}
}

// round renews until a renewal is confirmed or the lease has ended, and returns
// the time until the next round.
func (l *Lease) round(stream *keepAlive) time.Duration {
	for {
		start := clock.Now()
		err := l.renew(stream)
		switch {
		case err == nil:
			return max(l.ttl/roundsPerTTL-clock.Now().Sub(start), 0)
		case errors.Is(err, errUnknown):
			l.lose(err)
		case l.ctx.Err() == nil:
			l.suspend(err)
		}
		if !l.pause(start) {
			return 0
		}
	}
}

// pause waits before the next attempt, unless the one that began at start has
// waited for an answer for as long, and reports whether the lease is still going.
func (l *Lease) pause(start clock.Instant) bool {
	d := l.ttl/pausesPerTTL - clock.Now().Sub(start)
	return attempt.Pause(l.ctx, max(d, 0))
}

// renew makes one attempt: a keep-alive, and the look that confirms it. A leader
// that was deposed and does not know it yet still acknowledges keep-alives; the
// look is linearizable, so it cannot come from the same term if there is a newer
// one, and such an acknowledgement must not move the deadline.
func (l *Lease) renew(stream *keepAlive) error {
	start, wall := clock.Now(), time.Now()
	l.look.Renewing()
	var acked acknowledgement
	err := l.call(func(ctx context.Context) (err error) {
		acked, err = stream.send(ctx)
		return err
	})
	if err != nil {
		return err
	}
	look := l.look.Begin(l.client, l.id)
	// The first step confirms; a long look must not hold up the deadline.
	term, err := l.step(look, l.suspend)
	if err != nil {
		return err
	}
	if term > acked.term {
		return errDeposed
	}
	if l.extend(start, wall, acked.ttl) && l.cfg.observer.Renewed != nil {
		l.cfg.observer.Renewed(l, clock.Now().Sub(start))
	}
	for !look.Done() && clock.Now().Sub(start) < l.ttl/roundsPerTTL {
		if _, err := l.step(look, func(error) {}); err != nil {
			return nil //nolint:nilerr // the lease has ended; the renewal was confirmed
		}
	}
	return nil
}

// step makes one step of a look, repeated until it succeeds or the lease ends: what
// the look has got so far, and the acknowledgement, stay good.
func (l *Lease) step(look *look.Look, failed func(error)) (term uint64, err error) {
	for {
		start := clock.Now()
		err := l.call(func(ctx context.Context) (err error) {
			term, err = look.Step(ctx)
			return err
		})
		if err == nil {
			return term, nil
		}
		failed(err)
		if !l.pause(start) {
			return 0, err
		}
	}
}

// call makes one RPC with a timeout.
func (l *Lease) call(rpc func(context.Context) error) error {
	return attempt.Once(l.ctx, min(max(l.ttl/callsPerTTL, minCall), l.Remaining()/lastShare), rpc)
}

// revoke removes the lease from the server. It is tried for one TTL, after which
// the server has expired it: a renewal sent before the end may have extended it
// to just that. After a closed client there is nothing to try with.
func (l *Lease) revoke() {
	//nolint:forbidigo // as in keep
	ctx, cancel := context.WithTimeout(l.client.Ctx(), l.ttl)
	defer cancel()
	err := attempt.Do(ctx, l.ttl/lastShare, func(ctx context.Context) error {
		_, err := l.client.Revoke(ctx, l.id)
		return err
	})
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		l.cfg.log.Warn("lease: not revoked; it expires by itself", "lease", l.hex(), "error", err)
	}
}
