package main

import (
	"context"
	"time"
)

const (
	slow   = "us/2" // the reader that takes long to apply a version
	cutOff = "ap/2" // the one that is cut off from etcd
	// toApply is how long the slow one takes.
	toApply = 400 * time.Millisecond
)

// play plays all acts.
func (s *stage) play(ctx context.Context) error {
	for i, a := range []struct {
		title string
		play  func(context.Context) error
	}{
		{"Two write at once: both changes are there, and all readers switch together.", s.playTogether},
		{"Writers are killed between their steps: old or new, never a mixture.", s.playCrash},
		{"Updates that do not fit are refused: nothing changes.", s.playInvalid},
		{"A reader is slow, another is gone: the writer waits for those alive.", s.playBarrier},
	} {
		s.view.Begin("%d/4  %s", i+1, a.title)
		if err := a.play(ctx); err != nil {
			return err
		}
	}
	return nil
}

// playTogether has a writer begin, and then two write at once: the second comes when the
// first has read and not yet written.
func (s *stage) playTogether(ctx context.Context) error {
	first := change{
		"limits":   {"rps": 100, "burst": 200},
		"routes":   {"blue": 100, "green": 0},
		"features": {"green": 0},
	}
	if err := s.update(ctx, first, done); err != nil {
		return err
	}
	one, err := s.write(change{"limits": {"rps": 150}}, read)
	if err != nil {
		return err
	}
	if err := s.finish(ctx, read, one); err != nil {
		return err
	}
	other, err := s.write(change{"routes": {"blue": 90, "green": 10}, "features": {"green": 1}}, "")
	if err != nil {
		return err
	}
	if err := s.finish(ctx, queues, other); err != nil {
		return err
	}
	if err := s.writers[one].Send("go on"); err != nil {
		return err
	}
	return s.finish(ctx, done, one, other)
}

// playCrash kills a writer after each of its steps. The next one gets the lock when the
// lease of that one has ended, and says what it finds.
func (s *stage) playCrash(ctx context.Context) error {
	for i, step := range []kind{read, validated, written} {
		name, err := s.write(change{"limits": {"rps": 160 + i}}, step)
		if err != nil {
			return err
		}
		if err := s.finish(ctx, step, name); err != nil {
			return err
		}
		if err := s.writers[name].Kill(); err != nil {
			return err
		}
		s.view.Tell(s.view.Styles.Bad, "%s, which has %s, is killed", name, step)
	}
	return s.update(ctx, change{"limits": {"burst": 300}}, done)
}

// playInvalid has writers try what does not fit.
func (s *stage) playInvalid(ctx context.Context) error {
	for _, c := range []change{
		{"routes": {"green": 50}},
		{"features": {"green": 0}}, // which fits by itself, but not to the routes
	} {
		if err := s.update(ctx, c, refused); err != nil {
			return err
		}
	}
	return nil
}

// playBarrier has a writer wait for a reader that is slow, and one that is gone.
func (s *stage) playBarrier(ctx context.Context) error {
	s.waiting = true
	s.readers[slow].slow.Store(int64(toApply))
	s.proxy.Blackhole()
	s.view.Tell(s.view.Styles.Title, "%s takes %s to apply a version, %s is cut off from etcd", slow, toApply, cutOff)
	if err := s.update(ctx, change{"limits": {"rps": 200}}, done); err != nil {
		return err
	}
	s.proxy.Heal()
	s.view.Tell(s.view.Styles.Title, "%s can reach etcd again", cutOff)
	e, err := s.await(ctx, cutOff+" with the latest version", func(e event) bool {
		return e.Kind == applied && e.Worker == cutOff && e.Version == s.most
	})
	if err == nil {
		s.view.Tell(s.view.Styles.Good, "%s has version %d now", e.Worker, e.Version)
	}
	return err
}
