package redislocks

import (
	"context"
	"time"
)

// RedislockWatchdog adds what redislock's documentation tells users to add who want their
// locks renewed: a goroutine that does that every third of the TTL, and ends a context
// when it fails.
func RedislockWatchdog() Library {
	return Library{
		Name: "redislock-watchdog", Lacks: "no validity time, no wake-up at the release; " + lacksPrompt,
		Join: func(clients Clients) (Locker, error) { return watched(redislockOn(clients())), nil },
	}
}

// RedislockPrompt is RedislockWatchdog whose calls return when their context ends, as
// those of redlock do, also while the server hangs. go-redis does not interrupt a call, so
// that takes a goroutine for each.
func RedislockPrompt() Library {
	return Library{
		Name: "redislock-watchdog-prompt", Lacks: "no validity time, no wake-up at the release",
		Join: func(clients Clients) (Locker, error) { return promptly(watched(redislockOn(clients()))), nil },
	}
}

// watched renews what lock locks.
func watched(lock Locker) Locker {
	return func(ctx context.Context, key string) (Held, error) {
		h, err := lock(ctx, key)
		if err != nil {
			return Held{}, err
		}
		work, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			defer cancel()
			renew(work, h.Extend)
		}()
		return Held{h.Extend, func(ctx context.Context) error {
			cancel()
			<-ended
			return h.Unlock(ctx)
		}}, nil
	}
}

func renew(ctx context.Context, extend func(context.Context) error) {
	ticker := time.NewTicker(TTL / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if extend(ctx) != nil {
				return
			}
		}
	}
}

// promptly returns when the context ends.
func promptly(lock Locker) Locker {
	return func(ctx context.Context, key string) (Held, error) {
		locked := make(chan Held, 1)
		err := prompt(ctx, func() error {
			h, err := lock(ctx, key)
			locked <- h
			return err
		})
		if err != nil {
			return Held{}, err
		}
		h := <-locked
		return Held{h.Extend, func(ctx context.Context) error {
			return prompt(ctx, func() error { return h.Unlock(ctx) })
		}}, nil
	}
}

func prompt(ctx context.Context, fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
