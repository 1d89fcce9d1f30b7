package shard

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/watch"
)

const (
	// gather is how long the planner waits for more after it has heard of something, so
	// that what comes together is one round of planning.
	gather = 50 * time.Millisecond
	// succession is how long the shards of a member that is gone are kept if a process waits to
	// take its name: that one looks every 200 ms.
	succession = 500 * time.Millisecond
	// firstTerm and lastTerm bound how long a planner that has failed stays out.
	firstTerm = time.Second
	lastTerm  = 30 * time.Second
)

// stand stands for planner until the member's end, or the session's. What the server refuses
// now it may allow later: it may have no space, or an operator may take a permission away.
func (m *Member) stand(e *election.Election) {
	for {
		err := e.Run(m.candidacy, m.name, m.lead)
		if m.candidacy.Err() != nil || m.session.State() == lease.Closed {
			return
		}
		m.log.Warn("shard: member could not stand for planner; trying again", "error", err)
		if !sleep(m.candidacy, lastTerm) {
			return
		}
	}
}

// planner makes the plans, for a term.
type planner struct {
	*Member

	term  *election.Term
	cache *watch.Cache[record]
	// away is since when the planner knows that a member is gone which the plan has, and
	// bare since when nobody owns a shard.
	away map[string]time.Time
	// left says who was draining when last seen. Of those that left before the term the plan
	// says so.
	left map[string]bool
	bare map[ID]time.Time
	// moving are the shards that are on their way.
	moving map[ID]move
	// excuse is the last error of the assigner that was logged.
	excuse string
	// unwritten says why the last plan was not written.
	unwritten trouble
}

// lead makes plans until the term ends.
func (m *Member) lead(ctx context.Context, t *election.Term) error {
	cache, err := watch.NewCache(ctx, m.session.Client(), m.keys.all(), m.keys.decoder(), watch.WithLogger(m.log), watch.WithRebuild())
	if err != nil {
		return err
	}
	p := &planner{Member: m, term: t, cache: cache, away: map[string]time.Time{}, left: map[string]bool{}, bare: map[ID]time.Time{}}
	ctx, cancel := context.WithCancelCause(ctx)
	news := make(chan struct{}, 1)
	followed := make(chan struct{})
	go func() { // ends with ctx, and lead waits for it
		defer close(followed)
		cancel(p.listen(ctx, news))
	}()
	p.plan(ctx, news)
	tell(m.cfg.observer.Retired, PlanEvent{Group: m.keys.group, Planner: m.name})
	err = context.Cause(ctx)
	cancel(nil)
	<-followed
	closing, stop := context.WithTimeout(m.last, tryTimeout)
	defer stop()
	return errors.Join(err, cache.Close(closing))
}

// listen puts a token into news whenever something has changed.
func (p *planner) listen(ctx context.Context, news chan<- struct{}) error {
	for _, err := range p.cache.Snapshots(ctx) {
		if err != nil {
			return err
		}
		select {
		case news <- struct{}{}:
		default:
		}
	}
	return nil
}

// plan makes a round of planning after each change, and when a grace is over.
func (p *planner) plan(ctx context.Context, news <-chan struct{}) {
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-news:
		case <-due.C:
		case <-ctx.Done():
			return
		}
		if !sleep(ctx, gather) {
			return
		}
		due.Reset(p.round(ctx))
	}
}

const (
	// idle is when the planner looks again though nothing has changed: never, nearly.
	idle = time.Hour
	// anxious is when it does so while a shard has no owner, or the assigner has not
	// returned: nothing may tell that it has.
	anxious = 5 * time.Second
)

// round makes one round of planning, and returns after what time there is to be another
// if nothing happens.
func (p *planner) round(ctx context.Context) time.Duration {
	began := time.Now()
	st := stateOf(p.keys, p.cache.Snapshot())
	if st.plan == nil && !errors.Is(st.planErr, errNoPlan) {
		p.log.Warn("shard: plan is not whole; making another", "error", st.planErr)
	}
	if st.shards == 0 {
		p.restore(ctx)
	}
	r, next := p.gather(st)
	out := r.next(p.consult(ctx))
	if ctx.Err() != nil { // the term is over, and what was not heeded for it is not the assigner's fault
		return idle
	}
	e := PlanEvent{
		Group: p.keys.group, Planner: p.name, Shards: p.shards, Members: len(st.members), Moves: out.moves, Placed: out.placed,
		UnderWay: out.underWay, Pending: out.pending, Unowned: out.unowned, UnownedFor: p.longest(r.held), Err: out.err,
	}
	if out.unowned > 0 || errors.Is(out.err, errAssigning) {
		next = min(next, anxious)
	}
	p.excuses(out.err)
	members := p.counted(st, out.owners)
	if st.plan != nil {
		e.Version = st.plan.Version
	}
	if st.plan.says(members, out.owners) {
		p.unwritten = trouble{} // one that failed may have come after all
	} else {
		next = min(next, p.tryWrite(ctx, st, members, out.owners, &e))
	}
	e.Took = time.Since(began)
	tell(p.cfg.observer.Planned, e)
	return next
}

// restore puts the number of shards again, which an operator has deleted.
func (p *planner) restore(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	_, err := p.term.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(p.keys.shards()), "=", 0)).
		Then(clientv3.OpPut(p.keys.shards(), strconv.Itoa(p.shards))).Commit()
	p.log.Warn("shard: number of shards was not there; putting it again", "shards", p.shards, "error", err)
}

// counted returns those that the plan counts with, by name, and then those that are gone and
// still own something by it.
func (p *planner) counted(st *state, owners []string) []planMember {
	var here, gone []planMember
	for name, item := range st.members {
		here = append(here, planMember{name, item.Value.member.Nonce, item.Value.member.Draining})
	}
	seen := map[string]bool{"": true}
	for _, name := range owners {
		if _, ok := st.members[name]; ok || seen[name] {
			continue
		}
		seen[name] = true
		last, _ := st.plan.member(name)
		gone = append(gone, planMember{name, last.Nonce, p.left[name]})
	}
	byName := func(a, b planMember) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(here, byName)
	slices.SortFunc(gone, byName)
	return append(here, gone...)
}

// gather returns what a round is made from, and when the next grace is over.
func (p *planner) gather(st *state) (r round, next time.Duration) {
	r = round{moves: p.cfg.moves, stuck: st.stuck(p.shards), frozen: st.frozen, held: make([]string, p.shards)}
	r.in = Input{Shards: p.shards, Members: st.infos(), Owners: make([]string, p.shards), Pinned: st.pins}
	if st.plan != nil {
		copy(r.in.Owners, st.plan.owners)
	}
	for id := range r.held {
		if a, ok := st.owner(ID(id)); ok {
			r.held[id] = a.Owner
		}
		if st.plan == nil { // an operator has deleted it: the next begins with what is
			r.in.Owners[id] = r.held[id]
		}
	}
	absent, next := p.absent(st, r.in.Owners)
	r.in.Members = append(r.in.Members, absent...)
	slices.SortFunc(r.in.Members, func(a, b MemberInfo) int { return cmp.Compare(a.Name, b.Name) })
	late, sooner := p.late(r)
	r.late = late
	return r, min(next, sooner)
}

// absent returns those who are gone and may come back, and when the first grace is over.
func (p *planner) absent(st *state, owners []string) (all []MemberInfo, next time.Duration) {
	now, next := time.Now(), idle
	gone, left := make(map[string]time.Time), make(map[string]bool)
	for name, item := range st.members {
		left[name] = item.Value.member.Draining
	}
	for _, name := range owners {
		if _, here := st.members[name]; here || name == "" || left[name] {
			continue
		}
		if _, known := gone[name]; known {
			continue
		}
		last, _ := st.plan.member(name)
		if left[name] = p.left[name] || last.Leaving; left[name] { // it has left in order, and nothing is kept for it
			continue
		}
		since, known := p.away[name]
		if !known {
			since = now
		}
		gone[name] = since
		grace := p.cfg.grace
		if st.heirs[name] { // it is as good as back
			grace = max(grace, succession)
		}
		if left := grace - now.Sub(since); left > 0 {
			next = min(next, left)
			all = append(all, MemberInfo{Name: name, State: Absent})
		}
	}
	p.away, p.left = gone, left
	return all, next
}

// move is a shard on its way.
type move struct {
	to    string
	since time.Time // when the planner noticed
}

// late returns which shards have been on their way for longer than the drain time and a TTL,
// which is more than any move takes whose members do their part, and when there are more.
func (p *planner) late(r round) (all map[ID]bool, next time.Duration) {
	now, next := time.Now(), idle
	moving := make(map[ID]move)
	all = make(map[ID]bool)
	for id, to := range r.in.Owners {
		if !r.underWay(id) {
			continue
		}
		one := p.moving[ID(id)]
		if one.to != to {
			one = move{to, now}
		}
		moving[ID(id)] = one
		if left := p.cfg.drain - max(now.Sub(one.since)-p.ttl, 0); left > 0 { // their sum may be too large
			next = min(next, left)
		} else {
			all[ID(id)] = true
		}
	}
	p.moving = moving
	return all, next
}

// longest returns for how long the shard has had no owner for which that is longest.
func (p *planner) longest(held []string) (most time.Duration) {
	now := time.Now()
	bare := make(map[ID]time.Time)
	for id, owner := range held {
		if owner != "" {
			continue
		}
		since, known := p.bare[ID(id)]
		if !known {
			since = now
		}
		bare[ID(id)] = since
		most = max(most, now.Sub(since))
	}
	p.bare = bare
	return most
}

// excuses logs why the assigner is not heeded, once.
func (p *planner) excuses(err error) {
	if err == nil {
		p.excuse = ""
		return
	}
	if text := err.Error(); text != p.excuse {
		p.excuse = text
		p.log.Warn("shard: assigner is not heeded; members keep their shards", "error", err)
	}
}
