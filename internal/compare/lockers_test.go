package compare_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/works/redislocks"
	"github.com/conclave-go/conclave/internal/redistest"
)

// joiner makes a contender on the nodes of a cluster.
type joiner func(b *testing.B, c *redistest.Cluster) redislocks.Locker

// rival is a library under comparison; the name is part of the units of its figures.
type rival struct {
	name string
	join joiner
}

// of returns the rival of a library.
func of(l redislocks.Library) rival {
	return rival{l.Name, func(b *testing.B, c *redistest.Cluster) redislocks.Locker {
		b.Helper()
		return join(b, c, l)
	}}
}

func join(b *testing.B, c *redistest.Cluster, l redislocks.Library) redislocks.Locker {
	b.Helper()
	lock, err := l.Join(func(tune ...func(*redis.Options)) []redis.UniversalClient { return c.Clients(b, tune...) })
	require.NoError(b, err)
	return lock
}

// conclave makes a contender of Conclave's, which ends with the benchmark.
func conclave(b *testing.B, c *redistest.Cluster) redislocks.Locker {
	b.Helper()
	l, end := redislocks.Conclave()
	lock := join(b, c, l)
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = end(ctx) // a node may be stopped
	})
	return lock
}
