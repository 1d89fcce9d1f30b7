package shard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/watch"
)

// Member is a process's part in a group. [Join] makes one. All methods may be called from
// several goroutines.
type Member struct {
	session *lease.Session
	keys    keys
	name    string
	own     OwnFunc
	cfg     config
	log     *slog.Logger
	shards  int
	entry   memberRecord
	ttl     time.Duration // of its session's leases
	reg     *lease.Registration
	work    sync.WaitGroup

	// life is done when Close has no more time to hand shards over: ownerships end then.
	// last is done when it has no more time to release them.
	life, last  context.Context
	end, endAll context.CancelFunc
	// candidacy is done when the member is no longer to be planner.
	candidacy context.Context
	withdrawn context.CancelFunc
	// poke holds a token when there may be shards to hand over.
	poke chan struct{}
	// news holds a token when there may be something to tell the planner, and telling one
	// while it is told.
	news, telling chan struct{}
	// asking holds a token for each claim whose turn it is to ask.
	asking chan struct{}
	// consulting holds a token while the assigner has not returned.
	consulting chan struct{}

	// No function of the user's is called, nor what may call one, with mu held.
	mu      sync.Mutex
	claims  map[ID]*claim
	waiting map[ID]waiter // who waits for shards that are to go, the last to come
	left    []leaver      // of whom the observer has not heard yet
	// quickest is how long a release has taken at least, 0 if there was none yet.
	quickest time.Duration
	missing  int      // wanted claims that do not own their shard
	plan     *planned // the last that was read, nil if none was
	meant    bool     // it is for this process, if for one of the member's name
	// contending is set while the member finds out whether another process has replaced it.
	contending bool
	changed    chan struct{} // closed and replaced by each change of the above
	// draining is when Drain was called first, progress when since then an owner was last told
	// to leave or a claim was gone, and hasty is set when shards are not kept any longer for
	// others to come.
	draining, progress time.Time
	hasty              bool
	closed             bool
	err                error // why the member cannot go on
}

// errMemberClosed is the cause of an ownership's end when its member has no more time.
var errMemberClosed = fmt.Errorf("shard: member was closed: %w", ErrLost)

// Join makes the process a member of a group, under its own name, which should stay the
// same if the process is restarted, and calls own for each shard that it comes to own. The
// group's name follows the rules of [lock.NewMutex]; the member's has 1 to [MaxName] bytes
// and no slash.
//
// Join returns when the member is registered: three writes. If the name is taken, it waits
// for at most that member's TTL to see whether it is a process that has died, and returns a
// [*MemberError] if it is alive. If that process has died, the member finds its shards where
// they were. Join also fails if the group has another number of shards ([*ShardsError]) or
// [MaxMembers] members already ([ErrFull]), when ctx ends, or if the server refuses. Then
// nothing is left but the number of shards and, if a request had no answer, perhaps a key that
// counts as a member until the session is closed. ctx bounds the call; the contexts of
// ownerships have its values.
//
// The session remains the caller's: close the member first. If the session is closed before
// it, all shards are lost at once, see [Member.Err].
func Join(ctx context.Context, s *lease.Session, group, member string, own OwnFunc, opts ...Option) (*Member, error) {
	cfg, err := newConfig(opts)
	if ctx == nil {
		return nil, errors.Join(errNilContext, err)
	}
	if own == nil {
		err = errors.Join(err, errors.New("shard: function is nil: must be the function to run for each shard"))
	}
	if s == nil || s.Client() == nil {
		return nil, errors.Join(errors.New("shard: session is nil or zero: must come from lease.NewSession"), err)
	}
	if err := errors.Join(checkMember(member), err); err != nil {
		return nil, err
	}
	k := keys{group}
	e, bad := election.New(s, group, election.WithOwner(member), election.WithRetry(firstTerm, lastTerm))
	if bad == nil {
		_, bad = lock.NewMutex(s, k.lock(MaxShards-1)) // whose name is the longest
	}
	if bad != nil {
		return nil, fmt.Errorf("shard: group %q: %w", group, bad)
	}
	m := &Member{
		session: s, keys: k, name: member, own: own, cfg: cfg,
		log:    s.Logger().With("group", group, "member", member),
		claims: make(map[ID]*claim), waiting: make(map[ID]waiter), changed: make(chan struct{}), poke: make(chan struct{}, 1),
		asking: make(chan struct{}, askers), consulting: make(chan struct{}, 1),
		news: make(chan struct{}, 1), telling: make(chan struct{}, 1),
	}
	m.life, m.end = context.WithCancel(context.WithoutCancel(ctx))
	m.candidacy, m.withdrawn = context.WithCancel(m.life)
	m.last, m.endAll = context.WithCancel(context.WithoutCancel(ctx))
	if err := m.join(ctx, e); err != nil {
		m.end()
		m.endAll()
		return nil, fmt.Errorf("shard: joining %q as %q: %w", group, member, err)
	}
	return m, nil
}

// join registers the member and begins its work.
func (m *Member) join(ctx context.Context, e *election.Election) (err error) {
	if m.shards, err = agree(ctx, m.session.Client(), m.keys, m.cfg.shards); err != nil {
		return err
	}
	plans, err := m.follow(ctx)
	if err != nil {
		return err
	}
	if m.reg, err = m.enter(ctx); err != nil {
		return errors.Join(err, plans.Close(ctx))
	}
	m.work.Go(func() { m.heed(plans) })
	m.work.Go(m.handOver)
	m.work.Go(m.tellNews)
	m.work.Go(func() { m.stand(e) })
	return nil
}

// Name returns the member's name.
func (m *Member) Name() string { return m.name }

// Shards returns how many shards the group has.
func (m *Member) Shards() int { return m.shards }

// Owned returns the shards that the member owns, in order.
func (m *Member) Owned() []ID {
	var all []ID
	for c, o := range m.running() {
		if o.Err() == nil {
			all = append(all, c.id)
		}
	}
	slices.Sort(all)
	return all
}

// Err returns nil while the member is registered as far as is known, and otherwise why it
// is not: [ErrClosed]; [ErrReplaced] if another process has its name; or an error as from
// [lease.Registration.Err], which resolves itself unless the session is closed.
func (m *Member) Err() error {
	if err := m.ended(); err != nil {
		return err
	}
	return m.reg.Err()
}

// ended returns why the member does not go on, nil if it does.
func (m *Member) ended() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	return m.err
}

// Ready waits until the member is in the plan and owns what the plan gives it. More may
// come later: a plan moves only so many shards at a time. It returns ctx's error if that
// ends, [ErrClosed] if the member is closed or drains, and [ErrReplaced].
func (m *Member) Ready(ctx context.Context) error {
	return m.await(ctx, "becoming ready", func() (bool, error) {
		if m.closed || !m.draining.IsZero() {
			return false, ErrClosed
		}
		return m.meant && m.missing == 0, m.err
	})
}

// Drain hands everything over and takes nothing new. It returns when no shard is left: each
// goes as soon as its next owner waits for it and own has returned. Shards that nobody
// waits for are kept until none has gone for the drain time, and then released. ctx bounds
// only the wait; the member goes on draining. It remains a member, without shards, until it
// is closed.
func (m *Member) Drain(ctx context.Context) error {
	if ctx == nil {
		return errNilContext
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	if m.draining.IsZero() {
		m.draining = time.Now()
		m.progress = m.draining
		for _, c := range m.claims {
			c.drop()
		}
		time.AfterFunc(m.cfg.drain, m.hurry)
		m.signal()
	}
	m.mu.Unlock()
	m.wake()
	err := m.publish(ctx)
	if err != nil { // the planner does not know, and the shards are kept for the drain time
		m.report()
		err = fmt.Errorf("shard: draining: %w", err)
	}
	return errors.Join(err, m.await(ctx, "draining", func() (bool, error) { return len(m.claims) == 0, nil }))
}

// hurry has the member give up its shards though nobody waits for them, once none has gone or
// was about to go for the drain time.
func (m *Member) hurry() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if left := m.cfg.drain - time.Since(m.progress); left > 0 && len(m.claims) > 0 && !m.closed {
		time.AfterFunc(left, m.hurry)
		return
	}
	m.hasty = true
	m.wake()
}

// Close hands everything over as [Member.Drain] does, and leaves the group. If ctx is done,
// or ends meanwhile, it goes on for [lease.DefaultGrace]: for half of that it still hands
// over shards, then whatever is left ends like a loss and is released. So
//
//	defer member.Close(ctx)
//
// works even when ctx is that of [os/signal.NotifyContext], but with little time; it is
// better to give it a ctx that leaves as much as the drain time. The error names the shards
// whose function has not returned, and the assigner if that has not. Close may be called
// again, to wait again.
func (m *Member) Close(ctx context.Context) error {
	if ctx == nil {
		return errNilContext
	}
	within, cancel := graced(ctx, lease.DefaultGrace/2)
	defer cancel()
	if err := m.Drain(within); err != nil && within.Err() == nil && !errors.Is(err, ErrClosed) {
		m.log.Warn("shard: member was not drained", "error", err)
	}
	m.mu.Lock()
	m.closed = true
	for _, c := range m.claims {
		c.drop()
		if c.o != nil {
			c.o.cancel(errMemberClosed)
		}
	}
	m.signal()
	m.mu.Unlock()
	m.end()
	within, cancel = graced(within, lease.DefaultGrace/2)
	defer cancel()
	stop := context.AfterFunc(within, m.endAll)
	defer stop()
	left := m.reg.Close(within)
	if errors.Is(left, lease.ErrClosed) { // the session's end has removed it
		left = nil
	}
	return errors.Join(left, m.wait(within))
}

// wait waits until all that the member does is over.
func (m *Member) wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() { // ends with the work, which waits for nothing but own and the assigner
		m.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	var running []ID
	for c, o := range m.running() {
		c.expire(o, errMemberClosed)
		running = append(running, c.id)
	}
	slices.Sort(running)
	what := fmt.Sprintf("functions of shards %v", running)
	if len(m.consulting) > 0 {
		what += " and the assigner"
	}
	return fmt.Errorf("shard: closing: %s have not returned: %w", what, context.Cause(ctx))
}

// running returns the claims whose function runs. What the ownerships are asked may call the
// user, who may call the member: never do so with mu held.
func (m *Member) running() map[*claim]*Ownership {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[*claim]*Ownership)
	for _, c := range m.claims {
		if c.o != nil {
			all[c] = c.o
		}
	}
	return all
}

// await waits until done says so. It is called with mu held.
func (m *Member) await(ctx context.Context, what string, done func() (bool, error)) error {
	if ctx == nil {
		return errNilContext
	}
	for {
		m.mu.Lock()
		ok, err := done()
		changed := m.changed
		m.mu.Unlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("shard: %s: %w", what, context.Cause(ctx))
		}
	}
}

// signal wakes those who wait for a change. mu must be held.
func (m *Member) signal() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// wake has the member look for shards to hand over.
func (m *Member) wake() {
	select {
	case m.poke <- struct{}{}:
	default:
	}
}

// count keeps missing right when a claim changes. mu must be held.
func (m *Member) count(c *claim, by int) {
	if c.wanted && c.state != owning && m.claims[c.id] == c {
		m.missing += by
	}
}

// remove takes a claim out. mu must be held.
func (m *Member) remove(c *claim) {
	m.count(c, -1)
	delete(m.claims, c.id)
	delete(m.waiting, c.id)
	m.progress = time.Now()
	m.signal()
	m.wake() // another may be handed over
}

// abandon removes a claim because the session is closed.
func (m *Member) abandon(c *claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = fmt.Errorf("shard: session was closed before the member: %w", lease.ErrClosed)
	}
	m.remove(c)
}

// follow begins to follow the group's plans.
func (m *Member) follow(ctx context.Context) (*watch.Cache[[]byte], error) {
	return watch.NewCache(ctx, m.session.Client(), m.keys.plan(),
		func(_ string, value []byte) ([]byte, error) { return slices.Clone(value), nil },
		watch.WithLogger(m.log), watch.WithRebuild())
}

// heed does what the plans say, until the member's end, or the session's.
func (m *Member) heed(plans *watch.Cache[[]byte]) {
	for plans != nil {
		err := m.heedAll(plans)
		ctx, cancel := context.WithTimeout(m.last, tryTimeout)
		_ = plans.Close(ctx) // it has no more to say
		cancel()
		plans = m.followAgain(err)
	}
}

// followAgain follows the plans anew after a failure. It returns nil at the end.
func (m *Member) followAgain(why error) (plans *watch.Cache[[]byte]) {
	for m.life.Err() == nil && m.session.State() != lease.Closed {
		m.log.Warn("shard: plans cannot be followed; trying again", "error", why)
		if !sleep(m.life, lastPause) {
			break
		}
		if plans, why = m.follow(m.life); why == nil {
			return plans
		}
	}
	return nil
}

func (m *Member) heedAll(plans *watch.Cache[[]byte]) error {
	for s, err := range plans.Snapshots(m.life) {
		if err != nil {
			return err
		}
		p, err := readPlan(m.keys, func(key string) ([]byte, int64) {
			item, _ := s.Get(key)
			return item.Value, item.ModRevision
		})
		switch {
		case errors.Is(err, errNoPlan):
		case err != nil:
			m.log.Warn("shard: plan is not whole; the last one counts", "error", err)
		default:
			m.apply(p)
			m.contest()
		}
	}
	return nil
}

// apply does what a plan says.
func (m *Member) apply(p *planned) {
	if p.Shards != m.shards {
		m.log.Warn("shard: plan is for another number of shards; the last one counts", "shards", m.shards, "plan", p.Shards)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.plan != nil && m.plan.revision == p.revision {
		return
	}
	m.plan = p
	me, _ := p.member(m.name)
	m.meant = me.Nonce == m.entry.Nonce && m.err == nil
	serving := m.draining.IsZero() && !m.closed
	for id, owner := range p.owners {
		mine, c := serving && m.meant && owner == m.name, m.claims[ID(id)]
		switch {
		case mine && c == nil:
			m.begin(ID(id))
		case mine:
			c.keep()
		case c != nil:
			c.drop()
		}
	}
	m.signal()
	m.wake()
}

// begin begins a claim. mu must be held.
func (m *Member) begin(id ID) {
	c := &claim{m: m, id: id, rest: firstRest, wanted: true, stop: func() {}}
	c.mutex, _ = lock.NewMutex(m.session, m.keys.lock(id), lock.WithOwner(m.name)) // Join has tried the names
	m.claims[id] = c
	m.count(c, +1)
	m.work.Go(c.run)
}
