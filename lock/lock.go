package lock

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/conclave-go/conclave/internal/queue"
	"github.com/conclave-go/conclave/lease"
)

// newQueue checks what every lock is made from and returns its queue, without lanes.
func newQueue(s *lease.Session, kind, name string, opts []Option) (*queue.Queue, config, error) {
	if s == nil {
		return nil, config{}, errors.New("lock: session is nil: must come from lease.NewSession")
	}
	if s.Client() == nil {
		return nil, config{}, errors.New("lock: session is a zero value: must come from lease.NewSession")
	}
	c, err := newConfig(opts, kind)
	if err := errors.Join(c.checkName(name), err); err != nil {
		return nil, config{}, err
	}
	return &queue.Queue{
		Session: s, Kind: kind, Name: strings.ToValidUTF8(name, "\uFFFD"), Owner: c.owner, // a name for people
		Nests: c.layout, Errors: queue.Errors{Lost: ErrLost, Released: ErrReleased, Taken: ErrLocked},
	}, c, nil
}

// acquire waits for the lock and returns the hold on it.
func acquire(ctx context.Context, q *queue.Queue) (*Hold, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	g, err := q.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock: locking %q: %w", q.Name, err)
	}
	return &Hold{grant: g}, nil
}

// try takes the lock if nobody is in the way.
func try(ctx context.Context, q *queue.Queue) (*Hold, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	g, head, taken, err := q.TryAcquire(ctx)
	switch {
	case err != nil:
		return nil, fmt.Errorf("lock: trying to lock %q: %w", q.Name, err)
	case taken:
		return nil, newLockedError(q.Name, head)
	}
	return &Hold{grant: g}, nil
}

func newLockedError(name string, head queue.Occupant) *LockedError {
	return &LockedError{
		Name: name, Key: head.Key, Owner: head.Record.Owner,
		Token: newToken(head.CreateRevision), Since: head.Record.Since,
	}
}

// checkName refuses names that cannot be locked with these options.
func (c config) checkName(name string) error {
	if c.layout { // any prefix will do there
		return nil
	}
	return checkName(name)
}

// checkName refuses names that cannot be locked.
func checkName(name string) error {
	if err := queue.CheckName(name); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	return nil
}

// checkContext refuses a context that is none.
func checkContext(ctx context.Context) error {
	if ctx == nil {
		return errors.New("lock: context is nil: use context.Background() if there is no other")
	}
	return nil
}

// checkFunc refuses a function that is none.
func checkFunc(fn func(context.Context, *Hold) error) error {
	if fn == nil {
		return errors.New("lock: fn is nil: must be a function")
	}
	return nil
}

// does calls fn with what take returns held.
func does(ctx context.Context, take func(context.Context) (*Hold, error), fn func(context.Context, *Hold) error) error {
	if err := errors.Join(checkContext(ctx), checkFunc(fn)); err != nil {
		return err
	}
	h, err := take(ctx)
	if err != nil {
		return err
	}
	return h.do(ctx, fn)
}

// doesIf is does for a take that does not wait: its refusal comes before that of fn.
func doesIf(ctx context.Context, take func(context.Context) (*Hold, error), fn func(context.Context, *Hold) error) error {
	h, err := take(ctx)
	if err != nil {
		return err
	}
	if err := checkFunc(fn); err != nil {
		_ = h.giveBack(ctx) // the session finishes what fails
		return err
	}
	return h.do(ctx, fn)
}

// nameOf returns the one of names to which key belongs.
func nameOf(names []string, key string) string {
	for _, name := range names {
		if strings.HasPrefix(key, queue.All(name)) {
			return name
		}
	}
	return ""
}
