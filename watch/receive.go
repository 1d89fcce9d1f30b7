package watch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// freshness is after how many stall limits at most the position of a quiet watch on a shared
// gRPC stream is moved on, so that compaction does not catch up with it.
const freshness = 6

// reception fills the buffer from a leg until that ends.
type reception struct {
	f *follower
	w *leg

	silent *time.Timer  // ends the leg
	doubt  *time.Ticker // asks for a sign of life
	heard  bool         // anything after the creation

	// The rest is for a shared line.
	running    sync.WaitGroup // what asks in the background
	prodding   bool           // one of them does
	signs      chan *sign     // what it has found, nil if nothing
	confirming bool           // so does one that somebody waits for
	proofs     chan proof
	proof      proof        // to be used as soon as the events it speaks of are there
	refreshing bool         // and one that nobody waits for
	refreshed  chan proof   // what that has found
	stale      *time.Timer  // when it is time for that
	fresh      int64        // the position when that was set
	reached    atomic.Int64 // the position, for them
}

func newReception(f *follower, w *leg) *reception {
	return &reception{f: f, w: w, signs: make(chan *sign, 1), proofs: make(chan proof, 1), refreshed: make(chan proof, 1)}
}

// run returns why the leg has ended.
func (r *reception) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer r.running.Wait()
	defer cancel()
	r.silent, r.doubt = time.NewTimer(r.f.quiet), time.NewTicker(r.pace())
	defer r.silent.Stop()
	defer r.doubt.Stop()
	r.stale = time.NewTimer(freshness * r.f.stall)
	defer r.stale.Stop()
	if r.f.alone {
		r.w.ask(ctx, r.patience())
	}
	for {
		if err := r.keep(); err != nil {
			return err
		}
		var err error
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case resp, ok := <-r.w.responses:
			if ok && resp.Err() == nil {
				r.w.line.hear(resp.Header)
			}
			r.heard, r.f.quiet = true, r.f.stall/2
			r.alive()
			if err = r.receive(ctx, resp, ok); err == nil {
				err = r.use(r.proof)
			}
		case revision := <-r.f.poke:
			r.ask(ctx, revision)
			r.inquire(ctx, r.pace())
			err = r.keepUp()
		case <-r.stale.C:
			r.refresh(ctx)
		case <-r.doubt.C:
			r.prod(ctx)
			r.inquire(ctx, r.f.stall)
			err = r.keepUp()
		case s := <-r.signs:
			r.prodding = false
			err = r.judge(ctx, s)
		case p := <-r.proofs:
			r.confirming = false
			err = r.use(p)
		case p := <-r.refreshed:
			r.refreshing = false
			err = r.use(p)
		case <-r.silent.C:
			err = r.giveUp()
		}
		if err != nil {
			return err
		}
	}
}

// pace is how long after the last sign of life the server is asked for one, however long it
// may be silent, and patience how long a question to it may take to be sent.
func (r *reception) pace() time.Duration { return r.f.stall / 5 }

func (r *reception) patience() time.Duration { return r.f.stall / 10 }

// alive notes a sign of life. Only those of this very watch count for how long it may be
// silent the next time: others on the line may come before a message that holds all up.
func (r *reception) alive() {
	r.f.progress.hear()
	r.silent.Reset(r.f.quiet)
	r.doubt.Reset(r.pace())
}

// giveUp is for a leg that has been silent for too long.
func (r *reception) giveUp() error {
	if r.f.position < r.w.created.GetRevision() && !r.heard {
		// A long history is one message, of which nothing shows until all of it has
		// arrived. So the next one is given more time. Where there is none, silence is
		// never harmless.
		r.f.quiet = min(2*r.f.quiet, maxQuiet*r.f.stall)
	}
	return errSilent
}

// prod asks for a sign of life.
func (r *reception) prod(ctx context.Context) {
	switch {
	case !r.w.line.shared:
		r.w.ask(ctx, r.patience())
	case !r.prodding:
		r.prodding = true
		key, pace := r.f.keys.key, r.pace()
		r.running.Go(func() { r.signs <- r.w.prod(ctx, key, pace) }) // ends with ctx
	}
}

// judge takes an answer on a shared line for a sign of life, and no more.
func (r *reception) judge(ctx context.Context, s *sign) error {
	if s == nil {
		return nil
	}
	header := s.header
	if header == nil {
		r.alive()
		if r.f.streams.aside(r.w.line) {
			return errAside
		}
		return nil
	}
	r.alive()
	if err := r.f.checkCluster(header); err != nil {
		return err
	}
	if header.GetRevision() < r.f.position {
		return r.f.checkFuture(ctx, r.f.position)
	}
	return nil
}

// ask asks how far the server is, for somebody who waits for a revision.
func (r *reception) ask(ctx context.Context, revision int64) {
	switch {
	case r.f.position >= revision: // it is on its way to who waits
	case !r.w.line.shared:
		r.w.ask(ctx, r.patience())
	case !r.confirming:
		r.confirming = true
		quiet := r.f.quiet
		r.running.Go(func() { r.proofs <- r.confirm(ctx, revision, quiet, r.f.streams.awaitTurn) }) // ends with ctx
	}
}

// refresh asks the same on a shared line for nobody, unless nothing has happened in the store.
func (r *reception) refresh(ctx context.Context) {
	r.postpone()
	position, quiet := r.f.position, r.f.quiet
	if !r.w.line.shared || r.refreshing {
		return
	}
	if header := r.w.line.heard(r.f.stall); header != nil && position >= header.GetRevision() {
		return
	}
	r.refreshing = true
	r.running.Go(func() { r.refreshed <- r.confirm(ctx, position+1, quiet, r.f.streams.awaitRoutine) }) // ends with ctx
}

// keep lets others know the position. One that has moved is fresh. A watch that is alone has
// come past what its line had met once it has all that there was when it was created.
func (r *reception) keep() error {
	if r.f.position != r.fresh {
		r.fresh = r.f.position
		r.reached.Store(r.fresh)
		r.postpone()
	}
	if r.f.alone && r.fresh >= r.w.created.GetRevision() {
		r.f.alone = false
		return errPast
	}
	return nil
}

// postpone sets when the position is no longer fresh: another time for each of those that
// have begun together, which would have to take turns.
func (r *reception) postpone() {
	most := freshness * r.f.stall
	r.stale.Reset(most - rand.N(most/4))
}

// use moves the position on by a proof, once all events that it speaks of are there.
func (r *reception) use(p proof) error {
	if p == (proof{}) {
		return nil
	}
	r.proof = p
	if p.compacted != 0 && r.f.snapshot && p.last == r.f.position {
		// Nothing was missed, but that cannot be shown any more.
		return &CompactedError{Requested: p.last + 1, Compacted: p.compacted}
	}
	if p.upTo <= r.f.position || p.last > r.f.position {
		return nil
	}
	r.proof = proof{}
	return r.f.advance(Batch{Revision: p.upTo})
}

// proof says that no event follows that at revision last, up to a revision, or that the
// history from there on is compacted.
type proof struct{ last, upTo, compacted int64 }

// awaitTurn waits until it is the turn of a question, see streams.
type awaitTurn func(ctx context.Context) (done func(), ok bool)

// confirm finds out, on a gRPC stream of its own, what follows the position, unless that has
// come to a revision by the time it is the question's turn. It takes a round trip, and up to
// the tenth of a second that a server needs to catch up. The result is empty if that fails.
func (r *reception) confirm(ctx context.Context, revision int64, patience time.Duration, await awaitTurn) proof {
	f := r.f
	done, ok := await(ctx)
	if !ok {
		return proof{}
	}
	defer done()
	position := r.reached.Load()
	if position >= revision {
		return proof{}
	}
	w := newLeg(ctx, f.streams.takeAside(), position+1)
	defer w.close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stop := context.AfterFunc(ctx, w.cancel)
	defer stop()
	switch err := w.create(f.keys.key, f.options()); {
	case err != nil, w.created.GetClusterId() != r.w.created.GetClusterId(), w.created.GetRevision() <= position:
		return proof{}
	}
	p := proof{last: position}
	again := time.NewTicker(maxAsk / 4) // not answered before the server has caught up
	defer again.Stop()
	for {
		select {
		case resp, ok := <-w.responses:
			switch n := len(resp.Events); {
			case resp.CompactRevision != 0:
				return proof{last: position, compacted: resp.CompactRevision}
			case !ok, resp.Err() != nil, resp.Header.GetClusterId() != w.created.GetClusterId():
				return proof{}
			case n > 0:
				p.last = max(p.last, resp.Events[n-1].Kv.ModRevision)
			default:
				p.upTo = resp.Header.GetRevision()
				return p
			}
		case <-again.C:
			w.ask(ctx, patience)
		case <-ctx.Done():
			return proof{}
		}
	}
}

// receive puts what has come into the buffer.
func (r *reception) receive(ctx context.Context, resp clientv3.WatchResponse, ok bool) error {
	f := r.f
	switch {
	case !ok:
		return errEnded
	case 0 < resp.CompactRevision && resp.CompactRevision <= f.position+1 && r.w.revision <= f.position:
		f.from = fromNow
		return errLate
	case resp.CompactRevision != 0:
		return &CompactedError{Requested: f.position + 1, Compacted: resp.CompactRevision}
	case resp.Err() != nil:
		return fmt.Errorf("the server ended the watch: %w", resp.Err())
	}
	if err := f.checkCluster(resp.Header); err != nil {
		return err
	}
	b := Batch{Revision: resp.Header.GetRevision(), Events: after(resp.Events, f.position)}
	if n := len(resp.Events); n > 0 {
		b.Revision = resp.Events[n-1].Kv.ModRevision
	}
	f.progress.receive(b.Revision)
	switch {
	case b.Revision < f.position && len(resp.Events) == 0:
		return f.checkFuture(ctx, f.position)
	case b.Revision <= f.position:
		return nil
	}
	return f.advance(b)
}

// advance moves the position on to the end of a batch.
func (f *follower) advance(b Batch) error {
	f.position, f.large = b.Revision, 0
	if !f.buffer.put(item{Batch: b}) {
		return errFull
	}
	return nil
}
