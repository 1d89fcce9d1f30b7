package watch

import (
	"context"
	"errors"
	"iter"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// CacheOption configures a [Cache].
type CacheOption interface {
	applyCache(c *cacheConfig) error
}

// cacheConfig is that of the stream a cache follows.
type cacheConfig struct{ config }

// newCacheConfig returns the defaults changed by opts, or the joined errors of all
// options that are wrong.
func newCacheConfig(client *clientv3.Client, prefix string, opts []CacheOption) (cacheConfig, error) {
	c := cacheConfig{}
	var errs []error
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errors.New("watch: option is nil: must come from one of the With functions"))
			continue
		}
		errs = append(errs, o.applyCache(&c))
	}
	errs = append(errs, c.check(client, prefix))
	return c, errors.Join(errs...)
}

// batches returns the stream that the cache follows.
func (c *Cache[T]) batches(ctx context.Context, client *clientv3.Client, prefix string, cfg cacheConfig) iter.Seq2[Batch, error] {
	return stream(ctx, client, prefix, cfg.config, c, c.poke)
}
