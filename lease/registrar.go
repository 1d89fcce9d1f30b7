package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/attempt"
)

const (
	// registrarBatch is how many registrations one transaction puts: half the
	// server's default limit of operations.
	registrarBatch = 64
	// registrarBytes is how many bytes of keys and values it has, if there are more than
	// one: a third of what servers take by default.
	registrarBytes = 512 << 10
	// registrarPause is the wait after a write that failed, or the first of several grants
	// that did. It doubles with each grant up to longestPause: for lack of space they may be
	// refused for days.
	registrarPause, longestPause = 100 * time.Millisecond, 5 * time.Second
)

// registrar keeps a session's registrations in place, with one goroutine that runs
// from the first registration to the end of the session and does all their writes.
type registrar struct {
	session *Session
	kick    chan struct{} // holds a token when there may be something to do
	start   sync.Once
	done    chan struct{} // closed when the goroutine has ended, or never started

	mu     sync.Mutex
	closed error // set once the goroutine has ended
	all    map[string]*Registration
	dirty  map[*Registration]struct{}
}

func newRegistrar(s *Session) *registrar {
	return &registrar{
		session: s, kick: make(chan struct{}, 1), done: make(chan struct{}),
		all: make(map[string]*Registration), dirty: make(map[*Registration]struct{}),
	}
}

// add takes on a registration.
func (g *registrar) add(r *Registration) error {
	if err := g.session.closed(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		return g.closed
	}
	if old := g.all[r.key]; old != nil {
		if !old.closing {
			return fmt.Errorf("lease: key %q is already registered by this session: close that registration first", r.key)
		}
		g.replace(old, r)
	}
	g.all[r.key] = r
	g.mark(r)
	g.start.Do(func() { go g.run() })
	return nil
}

// replace lets r take the place of one whose removal has not come through: what is
// under the key is r's to overwrite. mu must be held.
func (g *registrar) replace(old, r *Registration) {
	r.own, r.expect, r.puts, r.reclaimed = old.own, old.expect, old.puts, old.reclaimed
	r.under, r.doubts = old.under, old.doubts
	if old.item != nil {
		old.item.Remove()
	}
	delete(g.dirty, old)
	old.err = nil
	g.dealt(old, old.version)
}

// update changes the value that r shall have and returns the version that stands
// for it.
func (g *registrar) update(r *Registration, value string) (version int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case r.closing:
		return 0, ErrClosed
	case g.closed != nil:
		return 0, g.closed
	}
	r.want = value
	r.version++
	g.mark(r)
	return r.version, nil
}

// remove has r removed and returns the version that stands for that.
func (g *registrar) remove(r *Registration) (version int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	refused := r.closing && r.err != nil && g.all[r.key] == nil // it may be allowed by now
	if refused && g.closed == nil {
		g.all[r.key] = r
	}
	if g.closed == nil && (refused || !r.closing) {
		r.closing = true
		r.version++
		g.mark(r)
	}
	return r.version
}

// mark notes that r needs a write. mu must be held.
func (g *registrar) mark(r *Registration) {
	g.dirty[r] = struct{}{}
	select {
	case g.kick <- struct{}{}:
	default:
	}
}

// wait waits for the goroutine, which the end of the session has stopped.
func (g *registrar) wait(ctx context.Context) error {
	g.start.Do(func() { close(g.done) })
	select {
	case <-g.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("lease: closing: %w", context.Cause(ctx))
	}
}

// run keeps the registrations in place until the session ends.
func (g *registrar) run() {
	defer close(g.done)
	ctx := g.session.ctx
	var last *Lease
	pause := registrarPause
	for {
		l, err := g.lease(ctx, last)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			g.close(err)
			return
		}
		if err == nil {
			if last != nil && last != l {
				g.markAll()
			}
			last, pause = l, registrarPause
			err = g.place(ctx, l)
		}
		if err != nil {
			if l == nil || l.ctx.Err() == nil { // else the next lease will do
				g.failed(err)
			}
			attempt.Pause(ctx, pause)
			pause = min(2*pause, longestPause)
			continue
		}
		select {
		case <-g.kick:
		case <-l.ctx.Done():
		case <-ctx.Done():
		}
	}
}

// lease returns the lease for the registrations: the last while it is in use. One that is
// to fall out of use serves until there is another, whose grant kicks the registrar.
func (g *registrar) lease(ctx context.Context, last *Lease) (*Lease, error) {
	switch {
	case last == nil || last.Err() != nil: // the session may have others that are newer
		return g.session.Lease(ctx)
	case last.draining.Load():
		if l := g.session.oldest(); l != nil {
			return l, nil
		}
	}
	return last, nil
}

// close reports to all that the session is over.
func (g *registrar) close(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = err
	for _, r := range g.all {
		r.err = err
		g.dealt(r, r.version)
	}
}

// move has the goroutine find out whether its lease is still in use.
func (g *registrar) move() {
	select {
	case g.kick <- struct{}{}:
	default:
	}
}

func (g *registrar) markAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.all {
		g.mark(r)
	}
}

// place writes until nothing is dirty. The error is one that may go away.
func (g *registrar) place(ctx context.Context, l *Lease) error {
	for {
		g.mu.Lock()
		todo := slices.Collect(maps.Keys(g.dirty))
		g.mu.Unlock()
		if len(todo) == 0 {
			return nil
		}
		for len(todo) > 0 {
			n := g.fitting(todo)
			if err := g.write(ctx, l, todo[:n]); err != nil {
				return err
			}
			todo = todo[n:]
		}
	}
}

// fitting returns how many of the first registrations go into one transaction.
func (g *registrar) fitting(todo []*Registration) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	bytes := 0
	for i, r := range todo {
		// The key stands in the condition, in the put and in the read.
		if bytes += 3*len(r.key) + len(r.want); i > 0 && bytes > registrarBytes || i == registrarBatch {
			return i
		}
	}
	return len(todo)
}

// failed refuses what has never been in place if err will not go away by itself: what
// has may be allowed again.
func (g *registrar) failed(err error) {
	if attempt.Transient(err) || errors.Is(err, rpctypes.ErrLeaseNotFound) || errors.Is(err, ErrLost) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for r := range g.dirty {
		if r.lease == nil && !r.closing {
			r.err = err
			g.dealt(r, r.version)
		}
	}
}

// write makes one transaction over the batch. If the server refuses it as a whole
// each registration is tried alone, so that the one at fault is found.
func (g *registrar) write(ctx context.Context, l *Lease, batch []*Registration) error {
	sent, err := g.commit(ctx, l, batch)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		l.look.Hurry()
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil || l.ctx.Err() != nil || attempt.Transient(err) || errors.Is(err, rpctypes.ErrLeaseNotFound):
		return err
	case len(batch) == 1:
		g.refused(sent[0], l, err)
		return nil
	}
	for _, r := range batch {
		if err := g.write(ctx, l, []*Registration{r}); err != nil {
			return err
		}
	}
	return nil
}

// sending is what a write brings of a registration, of which something else may be wanted
// when the answer comes.
type sending struct {
	*Registration

	version int
	value   string // unless it is the removal
	removal bool
}

// commit puts, or removes, each of the batch under the condition that the key is
// as it was last seen, and takes note of the outcome unless that is an error.
func (g *registrar) commit(ctx context.Context, l *Lease, batch []*Registration) ([]sending, error) {
	ops := make([]clientv3.Op, len(batch))
	sent := make([]sending, len(batch))
	creating := make(map[int]*puts, len(batch)) // by the index in the batch
	patience := l.patience()
	g.mu.Lock()
	for i, r := range batch {
		ops[i], sent[i] = r.op(l), sending{r, r.version, r.want, r.closing}
		if r.closing {
			patience = attempt.Within(l.cfg.grace, patience)
		}
		if r.creating() {
			creating[i] = r.puts
			if !slices.Contains(r.puts.values, r.want) {
				r.puts.values = append(r.puts.values, r.want)
			}
		}
	}
	g.mu.Unlock()
	limits := attempt.Limits{Patience: patience, Until: l.ctx, Caller: l.cfg.caller, What: "lease: registration"}
	resp, err := attempt.Hedge(ctx, limits, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		g.sending(creating)
		resp, err := g.session.client.Txn(ctx).Then(ops...).Commit()
		if err == nil || !attempt.Uncertain(err) {
			g.answered(creating, resp)
		}
		return resp, err
	})
	if err != nil {
		return sent, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, r := range sent {
		sub := resp.Responses[i].GetResponseTxn()
		if successor := g.all[r.key]; successor != r.Registration {
			if sub.Succeeded && successor != nil { // else that will see what is there
				successor.inherit(r, resp.Header.Revision)
			}
			continue
		}
		if sub.Succeeded {
			g.wrote(r, l, resp.Header.Revision)
			continue
		}
		var kv *mvccpb.KeyValue
		if kvs := sub.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			kv = kvs[0]
		}
		g.saw(r, l, kv)
	}
	return sent, nil
}

// sending counts an attempt at creating writes, which may take effect until it is answered.
func (g *registrar) sending(creating map[int]*puts) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range creating {
		p.unsettled++
	}
}

// answered notes that an attempt was answered, with resp, or has done nothing.
func (g *registrar) answered(creating map[int]*puts, resp *clientv3.TxnResponse) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, p := range creating {
		p.unsettled = max(p.unsettled-1, 0)
		if resp != nil && resp.Responses[i].GetResponseTxn().Succeeded {
			p.applied = true
		}
	}
}

// inherit notes that a write of the registration whose place r has taken went through at
// revision rev. mu must be held.
func (r *Registration) inherit(w sending, rev int64) {
	r.expect, r.puts.applied = rev, false
	if w.removal {
		r.expect = 0
	}
}

// op is the write that brings r to what is wanted, if the key is as expected. mu
// must be held.
func (r *Registration) op(l *Lease) clientv3.Op {
	expected := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(r.key), "=", r.expect)}
	read := []clientv3.Op{clientv3.OpGet(r.key)}
	if id := int64(l.id); !slices.Contains(r.own, id) {
		r.own = append(r.own, id)
		if r.puts.unsettled > 0 {
			r.doubts = append(r.doubts, doubt{r.under, r.puts})
		}
		// An earlier registration may have left something under this lease.
		r.under, r.puts = l, new(puts)
		r.puts.unsettled, r.puts.values = l.look.Reclaim(r.key)
		r.reclaimed = r.puts.unsettled > 0
	}
	if r.closing {
		return clientv3.OpTxn(expected, []clientv3.Op{clientv3.OpDelete(r.key)}, read)
	}
	return clientv3.OpTxn(expected, []clientv3.Op{clientv3.OpPut(r.key, r.want, clientv3.WithLease(l.id))}, read)
}

// creating reports whether the next write is one that could bring the key back
// after its removal, should it be applied late: any other expects a revision that
// cannot come again. mu must be held.
func (r *Registration) creating() bool { return !r.closing && r.expect == 0 }

// wrote notes that a write went through at revision rev. mu must be held.
func (g *registrar) wrote(w sending, l *Lease, rev int64) {
	r := w.Registration
	r.expect, r.seen, r.puts.applied = rev, rev, false
	switch {
	case r.closing && w.version == r.version:
		g.drop(r, l)
	case r.closing:
		// It was the put before; the removal comes next.
	default:
		r.lease, r.err, r.takeover, r.reclaimed = l, nil, false, false
		if r.puts.unsettled == 0 {
			r.puts.values = nil
		}
		r.placed, r.rank = w.value, w.version
		r.own = []int64{int64(l.id)}
		r.suspect()
		g.observe(r, l)
		g.dealt(r, w.version)
	}
}

// saw notes that the key was not as expected, but as kv says (nil: absent), and
// decides what that means. mu must be held.
func (g *registrar) saw(w sending, l *Lease, kv *mvccpb.KeyValue) {
	r := w.Registration
	appeared := r.expect == 0 && kv != nil
	r.expect, r.seen = 0, 0
	mine := false
	if kv != nil {
		r.expect, r.seen = kv.ModRevision, kv.ModRevision
		mine = slices.Contains(r.own, kv.Lease)
	}
	if appeared && kv.Lease == int64(l.id) && !r.puts.applied && r.puts.unsettled > 0 {
		r.puts.unsettled-- // this is one of them
	}
	r.puts.applied = false
	switch {
	case r.closing:
		if !mine {
			g.drop(r, l)
		}
	case kv == nil || r.takeover:
		// The next attempt expects just this.
	case kv.Lease == int64(l.id) && string(kv.Value) == w.value && !r.reclaimed:
		// An earlier attempt went through although its reply did not.
		g.wrote(w, l, kv.ModRevision)
	case mine:
		// Ours, from before a lease loss or with an older value.
	default:
		r.expect = 0 // theirs is never overwritten
		r.err = &TakenError{Key: r.key, Value: string(kv.Value), Lease: clientv3.LeaseID(kv.Lease)}
		g.observe(r, l)
		g.dealt(r, w.version)
	}
}

// refused notes that the server does not allow the write.
func (g *registrar) refused(w sending, l *Lease, err error) {
	r := w.Registration
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all[r.key] != r {
		return // replaced meanwhile; what is refused is not its successor's
	}
	large := attempt.TooLarge(err)
	if large {
		err = fmt.Errorf("key of %d bytes with a value of %d: %w", len(r.key), len(w.value), err)
	}
	switch {
	case w.version != r.version:
		// What is wanted by now, a value or the removal, comes next.
		r.err = err
		g.dealt(r, w.version)
		return
	case r.closing:
		g.drop(r, l)
		r.err = err
		return
	case r.lease != nil && large && w.value != r.placed:
		// The next lease would not take it either.
		g.session.cfg.log.Warn("lease: registration keeps its old value; the new one is too large", "key", r.key, "error", err)
		r.want, r.large, r.largeFrom, r.largeTo = r.placed, err, r.rank, w.version
		g.dealt(r, r.version)
		if r.lease != l { // on which it is not yet
			g.mark(r)
		}
		return
	case r.lease != nil && r.err == nil:
		g.session.cfg.log.Warn("lease: registration refused; tried again with each round", "key", r.key, "error", err)
	}
	r.err = err
	// Lease.Err may call the user, who may call us.
	if r.lease == nil || r.lease == l || r.lease.ctx.Err() != nil {
		g.observe(r, l)
	} // else it is on the list of its lease, which is not closed therefore
	g.dealt(r, r.version)
}

// suspect has the leases that r has left remove what may still arrive under them. Before r
// is in place elsewhere, or gone, that could be r itself. The registrar's mu must be held.
func (r *Registration) suspect() {
	for _, d := range r.doubts {
		if d.lease.ctx.Err() == nil { // Err may call the user, who may call us
			d.lease.look.Suspect(r.key, d.unsettled, d.values...)
		}
	}
	r.doubts = nil
}

// drop ends a registration whose key is gone. mu must be held.
func (g *registrar) drop(r *Registration, l *Lease) {
	if r.item != nil {
		r.item.Remove()
	}
	if r.puts.unsettled > 0 {
		// A put without a reply may still arrive; the lease's look removes it.
		l.look.Suspect(r.key, r.puts.unsettled, r.puts.values...)
	}
	r.suspect()
	delete(g.all, r.key)
	r.err = nil
	g.dealt(r, r.version)
}

// dealt notes that version was dealt with, for good or ill. mu must be held.
func (g *registrar) dealt(r *Registration, version int) {
	if version == r.version {
		delete(g.dirty, r)
	}
	r.tried = version
	close(r.changed)
	r.changed = make(chan struct{})
}

// observe has the lease's rounds look at the key, so that its removal, or the
// release of a taken key, is noticed. mu must be held.
func (g *registrar) observe(r *Registration, l *Lease) {
	if r.item != nil {
		r.item.Remove()
	}
	judge := func(kv *mvccpb.KeyValue, rev int64) { g.judge(r, kv, rev) }
	r.item = l.look.Add(r.key, judge, func() { g.ended(r, l) })
}

// ended marks r if it has stayed under a lease that has ended, while others have moved.
func (g *registrar) ended(r *Registration, l *Lease) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all[r.key] == r && r.lease == l {
		g.mark(r)
	}
}

// judge marks r if its key is not as it was left, or the server has refused the last
// write, which it may not do again.
func (g *registrar) judge(r *Registration, kv *mvccpb.KeyValue, rev int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all[r.key] != r || rev < r.seen {
		return
	}
	asLeft := kv != nil && kv.ModRevision == r.seen
	_, taken := errors.AsType[*TakenError](r.err)
	if refused := r.err != nil && !taken; refused || !asLeft {
		g.mark(r)
	}
}
