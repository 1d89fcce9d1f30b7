package capacity

import (
	"context"
	"errors"
	"fmt"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// unlocker is a hold of any kind.
type unlocker interface {
	Unlock(ctx context.Context) error
}

// cycle makes an operation of an acquisition and its end.
func cycle[H unlocker](acquire func(context.Context) (H, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		h, err := acquire(ctx)
		if err != nil {
			return err
		}
		return h.Unlock(ctx)
	}
}

// lockAndUnlock is the operation that fleets are estimated by.
const lockAndUnlock = "Lock and Unlock, free"

// operations are all whose cost is counted.
func operations() []operation {
	return []operation{
		{lockAndUnlock, free},
		{"Unlock, the next one's grant, and Lock behind others", contended},
		{"TryLock of a mutex that is held", held},
		{"Multi of 8 names: Lock and Unlock", multi},
		{"RWMutex: RLock and Unlock", shared},
		{"Semaphore: Acquire and Unlock", permits},
		{"Campaign and Resign", campaign},
		{"Proclaim", proclaim},
		{"NewSession and Close", sessionOfItsOwn},
		{"Register and Close", register},
	}
}

func free(_ context.Context, _ *rig, s *lease.Session) (func(context.Context) error, error) {
	m, err := lock.NewMutex(s, "free")
	return func(ctx context.Context) error { return cycle(m.Lock)(ctx) }, err
}

func contended(ctx context.Context, r *rig, s *lease.Session) (func(context.Context) error, error) {
	c, err := queue(ctx, r, []*lease.Session{s}, r.cfg.Operations)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := c.probe(ctx)
		return err
	}, c.add(ctx, 0)
}

func held(ctx context.Context, r *rig, s *lease.Session) (func(context.Context) error, error) {
	m, err := lock.NewMutex(s, "held")
	if err != nil {
		return nil, err
	}
	if _, err := m.Lock(ctx); err != nil {
		return nil, err
	}
	another, err := r.ownSession(ctx)
	if err != nil {
		return nil, err
	}
	m, err = lock.NewMutex(another, "held")
	return func(ctx context.Context) error {
		if _, err := m.TryLock(ctx); !errors.Is(err, lock.ErrLocked) {
			return fmt.Errorf("a mutex that is held: %w", err)
		}
		return nil
	}, err
}

func multi(_ context.Context, _ *rig, s *lease.Session) (func(context.Context) error, error) {
	const size = 8
	var names []string
	for i := range size {
		names = append(names, fmt.Sprintf("multi/%d", i))
	}
	m, err := lock.NewMulti(s, names)
	return func(ctx context.Context) error { return cycle(m.Lock)(ctx) }, err
}

func shared(_ context.Context, _ *rig, s *lease.Session) (func(context.Context) error, error) {
	m, err := lock.NewRWMutex(s, "shared")
	return func(ctx context.Context) error { return cycle(m.RLock)(ctx) }, err
}

func permits(_ context.Context, _ *rig, s *lease.Session) (func(context.Context) error, error) {
	const size = 10
	m, err := lock.NewSemaphore(s, "permits", size)
	return func(ctx context.Context) error {
		return cycle(func(ctx context.Context) (*lock.Hold, error) { return m.Acquire(ctx, 1) })(ctx)
	}, err
}

func campaign(_ context.Context, _ *rig, s *lease.Session) (func(context.Context) error, error) {
	e, err := election.New(s, "campaign")
	return func(ctx context.Context) error {
		term, err := e.Campaign(ctx, "leader")
		if err != nil {
			return err
		}
		return term.Resign(ctx)
	}, err
}

func proclaim(ctx context.Context, _ *rig, s *lease.Session) (func(context.Context) error, error) {
	e, err := election.New(s, "proclaim")
	if err != nil {
		return nil, err
	}
	term, err := e.Campaign(ctx, "leader")
	return func(ctx context.Context) error { return term.Proclaim(ctx, "leader") }, err
}

func sessionOfItsOwn(_ context.Context, r *rig, s *lease.Session) (func(context.Context) error, error) {
	return func(ctx context.Context) error {
		another, err := lease.NewSession(ctx, s.Client(), lease.WithTTL(r.cfg.TTL))
		if err != nil {
			return err
		}
		return another.Close(ctx)
	}, nil
}

func register(_ context.Context, _ *rig, s *lease.Session) (func(context.Context) error, error) {
	return func(ctx context.Context) error {
		g, err := lease.Register(ctx, s, "registered", "10.0.0.1:443")
		if err != nil {
			return err
		}
		return g.Close(ctx)
	}, nil
}
