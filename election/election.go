package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
)

// kind names elections in keys, events and logs.
const kind = "election"

// Election is where candidates of one name are elected, one leader at a time, among
// all clients of the etcd cluster that use the name. It is not bound to a candidate:
// each call of Campaign or Run is a candidate of its own. All methods may be called
// from several goroutines. Use [New]; the zero value is not valid.
type Election struct {
	queue queue.Queue // copied for each campaign
	cfg   config
	// leading holds a token while a lead of Run has not returned.
	leading chan struct{}
}

// New returns the election of the given name. It makes no request.
//
// The name may contain slashes; elections "a" and "a/b" are independent, and so are an
// election and a lock of one name. It must be valid UTF-8 of 1 to [MaxName] bytes,
// without control characters, trailing slash, or a path segment that begins with "~".
func New(s *lease.Session, name string, opts ...Option) (*Election, error) {
	if s == nil {
		return nil, errors.New("election: session is nil: must come from lease.NewSession")
	}
	c, err := newConfig(opts)
	if err := errors.Join(checkName(name), err); err != nil {
		return nil, err
	}
	return &Election{
		cfg: c, leading: make(chan struct{}, 1),
		queue: queue.Queue{
			Session: s, Kind: kind, Name: name, Lanes: []queue.Lane{queue.Exclusive(prefix(name))}, Owner: c.owner,
			Errors: queue.Errors{Lost: ErrLost, Released: ErrResigned},
		},
	}, nil
}

// Campaign stands for election with a value for [Observe] to show, waits to be elected
// and returns the term. Candidates are elected in the order in which their requests
// reached etcd. A lease lost while waiting only costs the place in the queue.
//
// The value may be empty; it must be valid UTF-8 of at most [MaxValue] bytes.
//
// Campaign fails when ctx ends (its error then Is ctx.Err()), when the session has been
// closed ([lease.ErrClosed]), or when the server refuses, for example for lack of
// permission. Nobody is a candidate then; what was written is removed in the background.
func (e *Election) Campaign(ctx context.Context, value string) (*Term, error) {
	if err := checkValue(value); err != nil {
		return nil, err
	}
	if e.cfg.check != nil {
		return nil, errors.New("election: campaigning with a health check: only Run heeds it")
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
	return newTerm(&q, g), nil
}

// prefix returns what the keys of all candidates of an election begin with.
func prefix(name string) string { return queue.Prefix(name, kind) }

func (e *Election) log() *slog.Logger {
	return e.queue.Session.Logger().With("kind", kind, "name", e.queue.Name)
}
