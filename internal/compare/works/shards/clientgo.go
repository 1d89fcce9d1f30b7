//go:build !race

package shards

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/compare/leaderelection"
)

func clientGo() []way {
	return []way{{
		name: "ring, client-go leases", lacks: "tokens, deadlines, as few moves as can be; a request for each shard in a retry period",
		most: 1000, join: joinLeases,
	}}
}

// joinLeases has a member stand for the Lease of each shard that the ring gives it.
func joinLeases(ctx context.Context, p *party, client *clientv3.Client, member string) (func(context.Context) error, error) {
	return joinRingWith(ctx, p, client, member, func(ctx context.Context, shard int) {
		for ctx.Err() == nil {
			c, err := leaderelection.NewCandidate(client, fmt.Sprintf("%s/lease/%d", p.name, shard), member, func(ctx context.Context) {
				end := p.book.begin(shard, member)
				defer end()
				<-ctx.Done()
			})
			if err != nil {
				return
			}
			c.Run(ctx)
		}
	})
}
