package redislocks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/redlock"
)

const (
	// TTL is redlock's default, given to all.
	TTL = redlock.DefaultTTL
	// redislockPoll is how often redislock asks for a lock that is taken. It has no
	// default; its documentation uses this.
	redislockPoll = 100 * time.Millisecond
	// patience is for how long redislock asks at most. It wants a limit.
	patience = time.Minute
	// endless is a number of tries that is not reached. By default redsync gives up after
	// 32, that is about 5 s.
	endless = 1 << 30
)

// Library is a lock under comparison.
type Library struct {
	// Name is a word.
	Name string
	// Lacks names what Conclave gives and it does not.
	Lacks string
	// Join makes a contender with clients of its own.
	Join func(clients Clients) (Locker, error)
}

// Clients makes a client of each node, tuned as the library likes it.
type Clients func(tune ...func(*redis.Options)) []redis.UniversalClient

// Locker takes the lock of the given name, however long that takes.
type Locker func(ctx context.Context, key string) (Held, error)

// Held is a lock that is held.
type Held struct {
	Extend, Unlock func(ctx context.Context) error
}

// What the others lack.
const (
	lacksRenewal = "no renewal, no context that ends with the lock, no wake-up at the release"
	lacksReply   = "takes its own key for another's after a lost reply"
	lacksPrompt  = "waits for a server that hangs"
	lacksCancel  = "waits for a server that hangs until its context's deadline, also if that is cancelled"
)

// Conclave is package redlock with its own settings and those of go-redis. The contenders
// made of it last until end is called.
func Conclave() (l Library, end func(ctx context.Context) error) {
	var made []*redlock.Nodes
	l = Library{Name: "conclave", Join: func(clients Clients) (Locker, error) {
		nodes, err := redlock.NewNodes(clients())
		if err != nil {
			return nil, err
		}
		made = append(made, nodes)
		return func(ctx context.Context, key string) (Held, error) {
			m, err := redlock.NewMutex(nodes, key)
			if err != nil {
				return Held{}, err
			}
			h, err := m.Lock(ctx)
			if err != nil {
				return Held{}, err
			}
			return Held{h.Extend, h.Unlock}, nil
		}, nil
	}}
	return l, func(ctx context.Context) error {
		var errs []error
		for _, nodes := range made {
			errs = append(errs, nodes.Close(ctx))
		}
		return errors.Join(errs...)
	}
}

// Redsync is redsync with its own settings and those of go-redis.
func Redsync() Library {
	return Library{
		Name: "redsync", Lacks: lacksRenewal + "; " + lacksReply + "; " + lacksPrompt,
		Join: func(clients Clients) (Locker, error) { return redsyncOn(clients()), nil },
	}
}

// RedsyncTuned is redsync with what makes it fastest: it returns with the answers of a
// majority, and go-redis heeds contexts.
func RedsyncTuned() Library {
	return Library{
		Name: "redsync-tuned", Lacks: lacksRenewal + "; " + lacksReply + "; " + lacksCancel,
		Join: func(clients Clients) (Locker, error) {
			heed := func(o *redis.Options) { o.ContextTimeoutEnabled = true }
			return redsyncOn(clients(heed), redsync.WithFailFast(true)), nil
		},
	}
}

func redsyncOn(clients []redis.UniversalClient, opts ...redsync.Option) Locker {
	var pools []redsyncredis.Pool
	for _, client := range clients {
		pools = append(pools, goredis.NewPool(client))
	}
	rs := redsync.New(pools...)
	opts = append(opts, redsync.WithExpiry(TTL), redsync.WithTries(endless))
	return func(ctx context.Context, key string) (Held, error) {
		m := rs.NewMutex(key, opts...)
		if err := m.LockContext(ctx); err != nil {
			return Held{}, err
		}
		return Held{succeeds(m.ExtendContext), succeeds(m.UnlockContext)}, nil
	}
}

// succeeds makes an error of a false.
func succeeds(fn func(context.Context) (bool, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		ok, err := fn(ctx)
		if ok { // a minority may have failed
			return nil
		}
		if err == nil {
			err = errors.New("false")
		}
		return fmt.Errorf("redsync: %w", err)
	}
}

// Redislock is redislock as it is: it works on one node and renews nothing.
func Redislock() Library {
	return Library{
		Name: "redislock", Lacks: "no validity time; " + lacksRenewal + "; " + lacksPrompt,
		Join: func(clients Clients) (Locker, error) { return redislockOn(clients()), nil },
	}
}

func redislockOn(clients []redis.UniversalClient) Locker {
	client := redislock.New(clients[0])
	return func(ctx context.Context, key string) (Held, error) {
		ctx, cancel := context.WithTimeout(ctx, patience) // else it gives up after the TTL
		defer cancel()
		l, err := client.Obtain(ctx, key, TTL, &redislock.Options{RetryStrategy: redislock.LinearBackoff(redislockPoll)})
		if err != nil {
			return Held{}, err
		}
		return Held{func(ctx context.Context) error { return l.Refresh(ctx, TTL, nil) }, l.Release}, nil
	}
}
