package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errElsewhere is returned for what is not done to the servers of others.
var errElsewhere = errors.New("the server runs elsewhere")

// kill ends the server at once.
func (s *server) kill() error {
	if s.cluster == nil {
		return errElsewhere
	}
	return s.cluster.Node(0).Crash()
}

// restart starts the server again, without its keys, whether it is up or not. From one
// that runs elsewhere only the key is taken, as if it had restarted.
func (s *server) restart(ctx context.Context, key string) error {
	if s.cluster == nil {
		return s.admin.Del(ctx, key).Err()
	}
	err := s.cluster.Node(0).Revive(ctx)
	s.since = time.Now()
	return err
}

// jump moves the server's clock forward; that of a process only for the key: it
// expires so much earlier, by PEXPIRE.
func (s *server) jump(ctx context.Context, key string, d time.Duration) error {
	if s.cluster != nil && s.cluster.Node(0).Embedded() {
		s.cluster.Advance(d)
		return nil
	}
	left, err := s.admin.PTTL(ctx, key).Result()
	if err != nil {
		return err
	}
	return s.admin.PExpire(ctx, key, left-d).Err() // now, if that is in the past
}

// awaitRenewal returns just after the key has been set to live longer.
func (s *server) awaitRenewal(ctx context.Context, key string) error {
	const every = 5 * time.Millisecond
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no sign of a renewal within %s", patience))
	defer cancel()
	t := time.NewTicker(every)
	defer t.Stop()
	before := time.Duration(0)
	for {
		left, err := s.admin.PTTL(ctx, key).Result()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case before > 0 && left > before:
			return nil
		}
		before = left
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
