package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
)

// kind names elections in keys, events and logs.
const kind = "election"

// Election elects one leader at a time from the candidates of one name, among all clients
// of the etcd cluster that use the name. It does not belong to one candidate: each call of
// Campaign or Run is a separate candidate. All methods may be called from several
// goroutines. Use [New]; the zero value is not valid.
type Election struct {
	queue queue.Queue // copied for each campaign
	cfg   config
	place place
	local *local
}

// local is what the elections of one session and name share in this process.
type local struct {
	// leading holds a token while a lead of a Run has not returned.
	leading chan struct{}
	mu      sync.Mutex
	// terms are those that have not ended, by their keys.
	terms map[string]*Term
}

// localKey finds the local of a session.
type localKey struct{ prefix string }

// localOf returns the local of a session and an election. It lasts as long as an Election or
// a term refers to it: a session may see any number of names.
func localOf(s *lease.Session, p place) *local {
	fresh := &local{leading: make(chan struct{}, 1), terms: make(map[string]*Term)}
	shared, key := inside.Of(s).Shared(), localKey{p.prefix}
	for {
		found, loaded := shared.LoadOrStore(key, weak.Make(fresh))
		if !loaded {
			runtime.AddCleanup(fresh, func(p weak.Pointer[local]) { shared.CompareAndDelete(key, p) }, weak.Make(fresh))
			return fresh
		}
		pointer, _ := found.(weak.Pointer[local])
		if l := pointer.Value(); l != nil {
			return l
		}
		shared.CompareAndDelete(key, found) // nobody refers to it any more; its cleanup is about to run
	}
}

// New returns the election of the given name. It makes no request.
//
// The name may contain slashes; elections "a" and "a/b" are independent, and so are an
// election and a lock of one name. It must be valid UTF-8 of 1 to [MaxName] bytes,
// without control characters, trailing slash, or a path segment that begins with "~";
// [WithEtcdLayout] any name will do.
func New(s *lease.Session, name string, opts ...Option) (*Election, error) {
	if s == nil || s.Client() == nil {
		return nil, errors.New("election: session is nil or zero: must come from lease.NewSession")
	}
	c, err := newConfig(opts)
	if err := errors.Join(c.checkName(name), err); err != nil {
		return nil, err
	}
	p := c.place(name)
	return &Election{
		cfg: c, place: p, local: localOf(s, p),
		queue: queue.Queue{
			Session: s, Kind: kind, Name: strings.ToValidUTF8(name, "\uFFFD"), Lanes: []queue.Lane{queue.Exclusive(p.prefix)}, Owner: c.owner, Raw: p.raw, Nests: p.raw,
			Errors: queue.Errors{Lost: ErrLost, Released: ErrResigned},
		},
	}, nil
}

// Campaign stands for election with a value for [Observe] to show, waits to be elected
// and returns the term. Candidates are elected in the order in which their requests
// reached etcd. A lease lost while waiting only costs the place in the queue.
//
// The value may be empty; it must be valid UTF-8 of at most [MaxValue] bytes, or
// [WithEtcdLayout] anything of at most [MaxEtcdValue]. A longer one is refused at once.
//
// Campaign fails when ctx ends (its error then Is ctx.Err()), when the session has been
// closed ([lease.ErrClosed]), or when the server refuses, for example for lack of
// permission. Then there is no candidate; what was written is removed in the background.
func (e *Election) Campaign(ctx context.Context, value string) (*Term, error) {
	if err := errors.Join(checkContext(ctx), e.cfg.checkValue(value)); err != nil {
		return nil, err
	}
	if e.cfg.check != nil {
		return nil, errors.New("election: campaigning with a health check: only Run uses it")
	}
	return e.campaign(ctx, value)
}

func (e *Election) campaign(ctx context.Context, value string) (*Term, error) {
	q := e.queue
	q.Value = value
	g, err := q.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("election: campaigning for %q: %w", q.Name, err)
	}
	return e.newTerm(&q, g), nil
}

// Resume takes up an existing candidacy again, by its key and its create revision (that of
// its [Term.Token]), waits to be elected if it does not lead yet, and returns the term. The
// key must be attached to the session's lease; in a restarted process, that is a session on
// the lease of its predecessor. A term that this process already has is returned as it is.
//
// It fails as Campaign does, and with [ErrLost] if there is no such candidacy on that
// lease. If it fails after it has found the candidacy, it ends the candidacy, as Campaign
// does.
func (e *Election) Resume(ctx context.Context, key string, revision int64) (*Term, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	if t := e.local.term(key, revision); t != nil {
		return t, nil
	}
	q := e.queue
	g, err := q.Resume(ctx, key, revision)
	if err != nil {
		return nil, fmt.Errorf("election: resuming %q: %w", key, err)
	}
	return e.newTerm(&q, g), nil
}

func (e *Election) newTerm(q *queue.Queue, g *queue.Grant) *Term {
	t := &Term{queue: q, grant: g, place: e.place, cfg: e.cfg, local: e.local, turn: make(chan struct{}, 1), header: g.Header()}
	t.turn <- struct{}{}
	e.local.add(t)
	return t
}

// add notes a term until it ends.
func (l *local) add(t *Term) {
	l.mu.Lock()
	l.terms[t.Key()] = t
	l.mu.Unlock()
	context.AfterFunc(t.Context(), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.terms[t.Key()] == t {
			delete(l.terms, t.Key())
		}
	})
}

// term returns the term of the candidacy that this process has, nil if it has none.
func (l *local) term(key string, revision int64) *Term {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.terms[key]; t != nil && t.grant.Revision() == revision && t.Err() == nil {
		return t
	}
	return nil
}

var errNilContext = errors.New("election: ctx is nil: must be a context")

func checkContext(ctx context.Context) error {
	if ctx == nil {
		return errNilContext
	}
	return nil
}

// grace is how long giving the leadership back may take.
func (e *Election) grace() time.Duration { return inside.Of(e.queue.Session).Grace() }

func (e *Election) log() *slog.Logger {
	return e.queue.Session.Logger().With("kind", kind, "name", e.queue.Name)
}
