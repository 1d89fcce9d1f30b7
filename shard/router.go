package shard

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lock"
	"github.com/conclave-go/conclave/watch"
)

// Router knows who owns each shard of a group: a copy in memory, kept up to date, that
// never waits for etcd. [NewRouter] makes one. All methods may be called from several
// goroutines.
type Router struct {
	keys   keys
	shards int
	cache  *watch.Cache[record]
	end    context.CancelFunc
	loaded chan struct{} // closed once the group is known
	done   chan struct{} // closed when the goroutine that follows has ended

	mu      sync.RWMutex
	queues  map[ID][]acquisition // the owner first
	plan    *planned             // nil if there is none
	members map[string]memberRecord
	loads   int // how often the state was taken over as a whole
	// edits counts changes, edited says for each shard which was its last, and recent has the
	// shards in the order of that, so that who follows need not look at those that are as
	// they were. places has each shard's place in it.
	edits   int64
	edited  []int64
	recent  list.List
	places  []*list.Element
	changed chan struct{} // closed and replaced by each change
	err     error         // why it no longer follows
}

// Route says who owns a shard.
type Route struct {
	// Member is the owner's name, "" if there is none.
	Member string
	// Value is what it has joined with, see [WithValue]; "" if it is no longer a member.
	Value string
	// Token is that of the ownership: send it to the owner with a request, and the owner
	// can tell whether it is still the one that was meant.
	Token lock.Token
	// Since is when the owner began to ask for the shard, by its own clock.
	Since time.Time
	// Planned is the name of the member that the plan gives the shard to, "" if there is
	// none. If it is not the owner, the shard is moving.
	Planned string
}

// equal reports whether both say the same.
func (r Route) equal(other Route) bool {
	since := r.Since.Equal(other.Since)
	r.Since, other.Since = time.Time{}, time.Time{}
	return since && r == other
}

// Change is a shard's new route.
type Change struct {
	// Shard is the shard.
	Shard ID
	// Route is its route. Its Member is "" if nobody owns the shard.
	Route Route
	// Initial says that it is the state with which the iteration began.
	Initial bool
}

// RouterOption configures a [Router].
type RouterOption interface{ applyRouter(c *routerConfig) error }

type routerConfig struct{ cache []watch.CacheOption }

type routerOption func(c *routerConfig) error

func (o routerOption) applyRouter(c *routerConfig) error { return o(c) }

// WithCacheOptions passes options to the cache that the router is built on, such as
// [watch.WithLogger].
func WithCacheOptions(opts ...watch.CacheOption) RouterOption {
	return routerOption(func(c *routerConfig) error {
		c.cache = append(c.cache, opts...)
		return nil
	})
}

// NewRouter returns a router for a group, which it waits for if nobody has joined it yet.
// ctx bounds that, and loading; the router lives until it is closed. It needs no session,
// and only read access.
func NewRouter(ctx context.Context, client *clientv3.Client, group string, opts ...RouterOption) (*Router, error) {
	if ctx == nil {
		return nil, errNilContext
	}
	cfg := routerConfig{cache: []watch.CacheOption{watch.WithRebuild()}}
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("shard: router option is nil: must come from one of the With functions")
		}
		if err := o.applyRouter(&cfg); err != nil {
			return nil, err
		}
	}
	k := keys{group}
	cache, err := watch.NewCache(ctx, client, k.all(), k.decoder(), cfg.cache...)
	if err != nil {
		return nil, fmt.Errorf("shard: loading the routes of %q: %w", group, err)
	}
	r := &Router{keys: k, cache: cache, loaded: make(chan struct{}), done: make(chan struct{}), changed: make(chan struct{})}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	r.end = end
	go r.follow(life)
	select {
	case <-r.loaded:
		return r, nil
	case <-r.done:
		err = r.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(fmt.Errorf("shard: waiting for group %q: %w", group, err), r.Close(ctx))
}

// Shards returns how many shards the group has.
func (r *Router) Shards() int { return r.shards }

// Of returns the shard that a key belongs to, see the function [Of].
func (r *Router) Of(key string) ID { return Of(key, r.shards) }

// Owner returns who owns a shard, as its lock says, and whether anybody does; the route
// also has the planned owner. It is as fresh as the watch is quick: the owner may have
// changed some milliseconds ago, so whoever is asked has to check that the shard is its
// own.
func (r *Router) Owner(id ID) (route Route, owned bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.route(id)
}

// route is Owner. mu must be held.
func (r *Router) route(id ID) (route Route, owned bool) {
	if r.plan != nil && int(id) < len(r.plan.owners) {
		route.Planned = r.plan.owners[id]
	}
	q := r.queues[id]
	if len(q) == 0 {
		return route, false
	}
	route.Member, route.Token, route.Since = q[0].Owner, q[0].token(), q[0].Since
	route.Value = r.members[route.Member].Value
	return route, true
}

// Members returns the values of the group's members by their names, for callers who want to
// ask the planned owner.
func (r *Router) Members() map[string]string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	values := make(map[string]string, len(r.members))
	for name, m := range r.members {
		values[name] = m.Value
	}
	return values
}

// Changes yields the route of every shard, in order, and then each that changes. A consumer
// that does not keep up misses what a newer change has replaced, never the newest. The
// error is ctx's if that ends, otherwise why the router no longer follows.
func (r *Router) Changes(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for seen := int64(-1); ; {
			due, edits, changed, err := r.since(seen)
			for _, c := range due {
				if ctx.Err() == nil && !yield(c, nil) {
					return
				}
			}
			seen = edits
			switch {
			case ctx.Err() != nil:
				yield(Change{}, fmt.Errorf("shard: following the routes: %w", context.Cause(ctx)))
				return
			case len(due) > 0:
				continue
			case err != nil:
				yield(Change{}, err)
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// since returns the shards that have changed after an edit, all if that is -1.
func (r *Router) since(seen int64) (due []Change, edits int64, changed <-chan struct{}, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for e := r.recent.Back(); e != nil; e = e.Prev() {
		id, _ := e.Value.(ID)
		if r.edited[id] <= seen {
			break
		}
		route, _ := r.route(id)
		due = append(due, Change{Shard: id, Route: route, Initial: seen < 0})
	}
	slices.SortFunc(due, func(a, b Change) int { return cmp.Compare(a.Shard, b.Shard) })
	return due, r.edits, r.changed, r.err
}

// Err returns nil while the router follows the group, including interruptions from which it
// will recover, and otherwise why it no longer does: [ErrClosed], a [*ShardsError] if the
// group was given another number of shards, or as [watch.Cache.Err].
func (r *Router) Err() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.err
}

// Close ends the router, and waits for its goroutines for as long as ctx allows. Owner
// still returns what was last known.
func (r *Router) Close(ctx context.Context) error {
	r.stop(ErrClosed)
	r.end()
	err := r.cache.Close(ctx)
	select {
	case <-r.done:
		return err
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("shard: closing the router: %w", context.Cause(ctx)))
	}
}

func (r *Router) stop(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.signal()
}

// signal wakes those who wait for a change. mu must be held.
func (r *Router) signal() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// follow keeps the routes up to date. The state as a whole is taken over with the first
// change, and what the cache replays of it is left out.
func (r *Router) follow(ctx context.Context) {
	defer close(r.done)
	var f following
	for c, err := range r.cache.Changes(ctx) {
		if err != nil {
			r.stop(err)
			return
		}
		now, _ := r.cache.Freshness()
		switch {
		case f.begins(c, now), r.shards == 0 && c.Key == r.keys.shards():
			f.took(r.load())
		case f.has(c):
		default:
			r.apply(c)
		}
		f.went(c)
		if err := r.agrees(); err != nil {
			r.stop(err)
			return
		}
	}
}

// following is how far a router has come.
type following struct {
	known int64 // the revision of the state that was last taken over as a whole
	// rebuilding is set while changes are part of a state with which the store has begun anew,
	// and whole is then the state that was taken over.
	rebuilding bool
	whole      watch.Snapshot[record]
}

// begins reports whether the state as a whole is to be taken over: at the beginning, and where
// that with which the store began anew begins or ends, or is not what was taken over: the store
// may have begun anew once more. now is the revision that the cache has come to.
func (f *following) begins(c watch.Change[record], now int64) bool {
	return f.known == 0 || now < f.known || c.Rebuilt != f.rebuilding || c.Rebuilt && !f.has(c)
}

// has reports whether a change is part of the state that was taken over. Where the store has
// begun anew, revisions do not tell.
func (f *following) has(c watch.Change[record]) bool {
	if !c.Rebuilt {
		return c.Item.ModRevision <= f.known
	}
	item, there := f.whole.Get(c.Key)
	if !there {
		return c.Deleted
	}
	// What was there before counts as deleted when it was put.
	return item.ModRevision == c.Item.ModRevision && (c.Deleted || reflect.DeepEqual(item.Value, c.Item.Value))
}

// took notes that the state as a whole was taken over.
func (f *following) took(s watch.Snapshot[record]) { f.known, f.whole = s.Revision(), s }

// went notes that a change was dealt with.
func (f *following) went(c watch.Change[record]) {
	if f.rebuilding = c.Rebuilt; !c.Rebuilt {
		f.whole = watch.Snapshot[record]{} // it would keep alive what the cache has replaced
	}
}

// agrees returns a [*ShardsError] if the group has another number of shards by now.
func (r *Router) agrees() error {
	item, _ := r.cache.Get(r.keys.shards())
	// An operator may have deleted it, or spoilt it.
	if n, err := shardsIn(string(item.Value.text)); err == nil && r.shards != 0 && n != r.shards {
		return &ShardsError{Group: r.keys.group, Want: r.shards, Have: n}
	}
	return nil
}

// load takes over the state as a whole, and returns it.
func (r *Router) load() watch.Snapshot[record] {
	s := r.cache.Snapshot()
	st := stateOf(r.keys, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loads++
	if r.shards == 0 && st.checkGroup(r.keys.group) == nil {
		r.begin(st.shards)
		defer close(r.loaded)
	}
	if st.plan != nil && st.plan.Shards != r.shards {
		st.plan = nil
	}
	before := r.routes()
	r.queues, r.plan, r.members = st.queues, st.plan, map[string]memberRecord{}
	for name, item := range st.members {
		r.members[name] = item.Value.member
	}
	for id, route := range r.routes() {
		if !route.equal(before[id]) {
			r.edit(ID(id))
		}
	}
	r.signal()
	return s
}

// routes returns the routes of all shards. mu must be held.
func (r *Router) routes() []Route {
	all := make([]Route, r.shards)
	for id := range all {
		all[id], _ = r.route(ID(id))
	}
	return all
}

// begin takes over the number of shards. mu must be held.
func (r *Router) begin(shards int) {
	r.shards, r.edited, r.places = shards, make([]int64, shards), make([]*list.Element, shards)
	for id := range r.places {
		r.places[id] = r.recent.PushBack(ID(id))
	}
}

// apply takes over one change.
func (r *Router) apply(c watch.Change[record]) {
	what, name, id := r.keys.parse(c.Key)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch what {
	case kindLock:
		r.applyEntry(id, c)
	case kindMember:
		r.applyMember(name, c)
	case kindHead:
		r.applyPlan()
	default:
	}
}

// applyMember takes over a member. mu must be held.
func (r *Router) applyMember(name string, c watch.Change[record]) {
	before := r.members[name].Value
	if r.members[name] = c.Item.Value.member; c.Deleted {
		delete(r.members, name)
	}
	if r.members[name].Value == before { // it drains, or is back
		return
	}
	for id, q := range r.queues {
		if len(q) > 0 && q[0].Owner == name {
			r.edit(id)
		}
	}
	r.signal()
}

// applyEntry takes over that an acquisition has come or gone. mu must be held.
func (r *Router) applyEntry(id ID, c watch.Change[record]) {
	q := slices.DeleteFunc(slices.Clone(r.queues[id]), func(a acquisition) bool { return a.key == c.Key })
	if !c.Deleted {
		q = append(q, acquisition{c.Item.Value.entry, c.Key, c.Item.CreateRevision})
		slices.SortFunc(q, func(a, b acquisition) int { return cmp.Compare(a.created, b.created) })
	}
	before, owned := r.route(id)
	if r.queues[id] = q; len(q) == 0 {
		delete(r.queues, id)
	}
	if after, owns := r.route(id); owned != owns || !after.equal(before) {
		r.edit(id)
		r.signal()
	}
}

// applyPlan takes over another plan. mu must be held.
func (r *Router) applyPlan() {
	p, err := readPlan(r.keys, func(key string) ([]byte, int64) {
		item, _ := r.cache.Get(key)
		return item.Value.text, item.ModRevision
	})
	if err != nil || p.Shards != r.shards { // the next is about to come
		return
	}
	old := r.plan
	r.plan = p
	for id, owner := range p.owners {
		if old == nil || old.owners[id] != owner {
			r.edit(ID(id))
		}
	}
	r.signal()
}

// edit notes that a shard has changed. mu must be held.
func (r *Router) edit(id ID) {
	if int(id) < len(r.edited) {
		r.edits++
		r.edited[id] = r.edits
		r.recent.MoveToBack(r.places[id])
	}
}
