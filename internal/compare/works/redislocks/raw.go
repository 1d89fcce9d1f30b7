package redislocks

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"
)

// release is the compare-and-delete that every Redis lock has.
const release = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`

// errRaw means that a node had not what the bare commands expect.
var errRaw = errors.New("raw: the key is not what it should be")

// Raw is SET NX PX and then a compare-and-delete on every node, all at once.
func Raw() Library {
	return Library{
		Name: "raw", Lacks: "waits for nobody, tells no deadline, and all else that makes a lock",
		Join: func(clients Clients) (Locker, error) { return rawOn(clients()), nil },
	}
}

func rawOn(clients []redis.UniversalClient) Locker {
	script := redis.NewScript(release)
	const token = "token"
	drop := func(ctx context.Context, key string) error {
		return each(clients, func(c redis.UniversalClient) error {
			n, err := script.Run(ctx, c, []string{key}, token).Int()
			if err == nil && n == 0 {
				err = errRaw
			}
			return err
		})
	}
	return func(ctx context.Context, key string) (Held, error) {
		err := each(clients, func(c redis.UniversalClient) error {
			ok, err := c.SetNX(ctx, key, token, TTL).Result()
			if err == nil && !ok {
				err = errRaw
			}
			return err
		})
		return Held{Unlock: func(ctx context.Context) error { return drop(ctx, key) }}, err
	}
}

// each calls do with all clients at once.
func each(clients []redis.UniversalClient, do func(c redis.UniversalClient) error) error {
	if len(clients) == 1 {
		return do(clients[0])
	}
	errs := make([]error, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { errs[i] = do(c) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
