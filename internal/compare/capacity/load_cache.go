package capacity

import (
	"bytes"
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/watch"
)

const (
	cached = "cached/"
	// valueSize is how large the values of cached keys are.
	valueSize = 100
)

// keys are keys in a cache.
func keys(largest int) load {
	return load{
		name: keyLoad, largest: largest,
		probed: "put to cached",
		begin: func(ctx context.Context, r *rig) (crowd, error) {
			writer, err := r.connected(ctx, 1)
			if err != nil {
				return crowd{}, err
			}
			reader, err := r.client()
			if err != nil {
				return crowd{}, err
			}
			c, err := watch.NewCache(ctx, reader, cached, func(_ string, value []byte) ([]byte, error) {
				return bytes.Clone(value), nil
			})
			if err != nil {
				return crowd{}, err
			}
			return cacheCrowd(writer[0], c), nil
		},
	}
}

// cacheCrowd writes keys, which the cache picks up.
func cacheCrowd(writer *clientv3.Client, c *watch.Cache[[]byte]) crowd {
	value := string(bytes.Repeat([]byte("v"), valueSize))
	put := func(ctx context.Context, i int) (revision int64, err error) {
		resp, err := writer.Put(ctx, fmt.Sprintf("%s%06d", cached, i), value)
		if err != nil {
			return 0, err
		}
		return resp.Header.Revision, nil
	}
	update := func(ctx context.Context) (time.Duration, error) {
		begun := time.Now()
		rev, err := put(ctx, 0)
		if err != nil {
			return 0, err
		}
		err = c.WaitRevision(ctx, rev)
		return time.Since(begun), err
	}
	return crowd{
		add: func(ctx context.Context, i int) error {
			_, err := put(ctx, i)
			return err
		},
		ready: func(ctx context.Context) error {
			_, err := update(ctx)
			return err
		},
		probe: update,
		end:   func(ctx context.Context) error { return c.Close(ctx) },
	}
}
