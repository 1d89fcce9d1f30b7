package watch

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// freshness is after how many stall limits the position of a quiet watch on a shared
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
	running    sync.WaitGroup          // what asks in the background
	prodding   bool                    // one of them does
	signs      chan *pb.ResponseHeader // what it has found, nil if nothing
	confirming bool                    // so does one
	proofs     chan proof
	proof      proof // to be used as soon as the events it speaks of are there
}

func newReception(f *follower, w *leg) *reception {
	return &reception{f: f, w: w, signs: make(chan *pb.ResponseHeader, 1), proofs: make(chan proof, 1)}
}

// run returns why the leg has ended.
func (r *reception) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer r.running.Wait()
	defer cancel()
	r.silent, r.doubt = time.NewTimer(r.f.quiet), time.NewTicker(r.pace())
	defer r.silent.Stop()
	defer r.doubt.Stop()
	fresh := time.NewTicker(freshness * r.f.stall)
	defer fresh.Stop()
	for {
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
		case <-r.f.poke:
			r.ask(ctx)
			r.inquire(ctx, r.f.stall/5)
			err = r.keepUp()
		case <-fresh.C:
			if r.w.line.shared {
				r.ask(ctx)
			}
		case <-r.doubt.C:
			r.prod(ctx)
			r.inquire(ctx, r.f.stall)
			err = r.keepUp()
		case header := <-r.signs:
			r.prodding = false
			err = r.judge(ctx, header)
		case p := <-r.proofs:
			r.confirming = false
			err = r.use(p)
		case <-r.silent.C:
			err = r.giveUp()
		}
		if err != nil {
			return err
		}
	}
}

// pace is how long after the last sign of life the server is asked for one.
func (r *reception) pace() time.Duration { return r.f.quiet * 2 / 5 }

// alive notes a sign of life. Only those of this very watch count for how long it may be
// silent the next time: others on the line may come before a message that holds all up.
func (r *reception) alive() {
	r.f.progress.hear()
	r.silent.Reset(r.f.quiet)
	r.doubt.Reset(r.pace())
}

// giveUp is for a leg that has been silent for too long.
func (r *reception) giveUp() error {
	if r.w.behind() && !r.heard {
		// A long history is one message, of which nothing shows until all of it has
		// arrived. So the next one is given more time.
		r.f.quiet = min(2*r.f.quiet, maxQuiet*r.f.stall)
	}
	return errSilent
}

// prod asks for a sign of life.
func (r *reception) prod(ctx context.Context) {
	switch {
	case !r.w.line.shared:
		r.w.ask(ctx, r.f.quiet/5)
	case !r.prodding:
		r.prodding = true
		key, pace := r.f.keys.key, r.pace()
		r.running.Go(func() { r.signs <- r.w.prod(ctx, key, pace) }) // ends with ctx
	}
}

// judge takes an answer on a shared line for a sign of life, and no more.
func (r *reception) judge(ctx context.Context, header *pb.ResponseHeader) error {
	if header == nil {
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

// ask asks how far the server is.
func (r *reception) ask(ctx context.Context) {
	switch {
	case !r.w.line.shared:
		r.w.ask(ctx, r.f.quiet/5)
	case !r.confirming:
		r.confirming = true
		position, quiet := r.f.position, r.f.quiet
		r.running.Go(func() { r.proofs <- r.confirm(ctx, position, quiet) }) // ends with ctx
	}
}

// use moves the position on by a proof, once all events that it speaks of are there.
func (r *reception) use(p proof) error {
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

// confirm finds out, on a gRPC stream of its own, what follows a position. It takes a
// round trip, and up to the tenth of a second that a server needs to catch up. The result
// is empty if that fails.
func (r *reception) confirm(ctx context.Context, position int64, patience time.Duration) proof {
	f := r.f
	l, done := f.streams.takeForQuestion(ctx)
	if l == nil {
		return proof{}
	}
	defer done()
	w := newLeg(ctx, l, position+1)
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
