package compare_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/redistest"
	"github.com/conclave-go/conclave/redlock"
)

const (
	// benchTTL is redlock's default, given to all.
	benchTTL = redlock.DefaultTTL
	// redislockPoll is how often redislock asks for a lock that is taken. It has no
	// default; its documentation uses this.
	redislockPoll = 100 * time.Millisecond
	// endless is a number of tries that no benchmark reaches. By default redsync gives up
	// after 32, that is about 5 s.
	endless = 1 << 30
)

// locker is one contender, with clients of its own, as a process has.
type locker func(ctx context.Context, key string) (held, error)

// held is a lock that is held.
type held struct {
	extend, unlock func(ctx context.Context) error
}

// joiner makes a contender on the nodes of a cluster.
type joiner func(b *testing.B, c *redistest.Cluster) locker

// rival is a library under comparison; the name is part of the units of its figures.
type rival struct {
	name string
	join joiner
}

func conclave(b *testing.B, c *redistest.Cluster) locker {
	b.Helper()
	nodes, err := redlock.NewNodes(c.Clients(b))
	require.NoError(b, err)
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = nodes.Close(ctx) // a node may be stopped
	})
	return func(ctx context.Context, key string) (held, error) {
		m, err := redlock.NewMutex(nodes, key)
		if err != nil {
			return held{}, err
		}
		h, err := m.Lock(ctx)
		if err != nil {
			return held{}, err
		}
		return held{h.Extend, h.Unlock}, nil
	}
}

// redsyncDefault is redsync with its own settings and those of go-redis.
func redsyncDefault(b *testing.B, c *redistest.Cluster) locker {
	b.Helper()
	return redsyncLocker(c.Clients(b))
}

// redsyncTuned is redsync with what makes it fastest: it returns with the answers of a
// majority, and go-redis honours contexts.
func redsyncTuned(b *testing.B, c *redistest.Cluster) locker {
	b.Helper()
	clients := c.Clients(b, func(o *redis.Options) { o.ContextTimeoutEnabled = true })
	return redsyncLocker(clients, redsync.WithFailFast(true))
}

func redsyncLocker(clients []redis.UniversalClient, opts ...redsync.Option) locker {
	var pools []redsyncredis.Pool
	for _, client := range clients {
		pools = append(pools, goredis.NewPool(client))
	}
	rs := redsync.New(pools...)
	opts = append(opts, redsync.WithExpiry(benchTTL), redsync.WithTries(endless))
	return func(ctx context.Context, key string) (held, error) {
		m := rs.NewMutex(key, opts...)
		if err := m.LockContext(ctx); err != nil {
			return held{}, err
		}
		return held{succeeds(m.ExtendContext), succeeds(m.UnlockContext)}, nil
	}
}

// succeeds makes an error of a false.
func succeeds(fn func(context.Context) (bool, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		ok, err := fn(ctx)
		if err == nil && !ok {
			return errors.New("redsync: false")
		}
		if ok { // a minority may have failed
			return nil
		}
		return err
	}
}

// redislockBare is redislock, which works on one node and renews nothing.
func redislockBare(b *testing.B, c *redistest.Cluster) locker {
	b.Helper()
	client := redislock.New(c.Clients(b)[0])
	return func(ctx context.Context, key string) (held, error) {
		ctx, cancel := context.WithTimeout(ctx, guard) // else it gives up after the TTL
		defer cancel()
		l, err := client.Obtain(ctx, key, benchTTL, &redislock.Options{
			RetryStrategy: redislock.LinearBackoff(redislockPoll),
		})
		if err != nil {
			return held{}, err
		}
		extend := func(ctx context.Context) error { return l.Refresh(ctx, benchTTL, nil) }
		return held{extend, l.Release}, nil
	}
}

// redislockWatchdog adds what redislock's documentation tells users to add who want their
// locks renewed: a goroutine that does that every third of the TTL, and ends a context
// when it fails. Its calls are still as in TestRedislockObtainSucceedsAfterItsContextWasCancelled.
func redislockWatchdog(b *testing.B, c *redistest.Cluster) locker {
	b.Helper()
	obtain := redislockBare(b, c)
	return func(ctx context.Context, key string) (held, error) {
		h, err := obtain(ctx, key)
		if err != nil {
			return held{}, err
		}
		work, cancel := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			defer cancel()
			renew(work, h.extend)
		}()
		return held{h.extend, func(ctx context.Context) error {
			cancel()
			<-ended
			return h.unlock(ctx)
		}}, nil
	}
}

// redislockPrompt is redislockWatchdog whose calls return when their context ends, as
// those of redlock do, also while the server hangs. go-redis does not interrupt a call, so
// that takes a goroutine for each.
func redislockPrompt(b *testing.B, c *redistest.Cluster) locker {
	b.Helper()
	lock := redislockWatchdog(b, c)
	return func(ctx context.Context, key string) (held, error) {
		var h held
		err := prompt(ctx, func() (err error) { h, err = lock(ctx, key); return err })
		if err != nil {
			return held{}, err
		}
		return held{h.extend, func(ctx context.Context) error {
			return prompt(ctx, func() error { return h.unlock(ctx) })
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

func renew(ctx context.Context, extend func(context.Context) error) {
	ticker := time.NewTicker(benchTTL / 3)
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
