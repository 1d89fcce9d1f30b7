package shards

import (
	"context"
	"errors"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/shard"
	"github.com/conclave-go/conclave/watch"
)

// ttl is that of all leases.
const ttl = 3 * time.Second

// party is a group whose members join by one way of dividing work.
type party struct {
	name   string // of the group; keys begin with it
	shards int
	book   *book
}

// way is one of dividing work.
type way struct {
	name, lacks string
	// most is how many shards it is tried with.
	most int
	// join has one more member, and returns how it leaves in order. The member may be cut
	// off, and leaves all the same.
	join func(ctx context.Context, p *party, client *clientv3.Client, member string) (leave func(ctx context.Context) error, err error)
}

func ways() []way {
	return append([]way{
		{name: "conclave", most: shard.MaxShards, join: joinConclave},
		{name: "hash ring", lacks: "one owner at a time, tokens, deadlines, as few moves as can be", most: shard.MaxShards, join: joinRing},
	}, clientGo()...)
}

func joinConclave(ctx context.Context, p *party, client *clientv3.Client, member string) (func(context.Context) error, error) {
	s, err := lease.NewSession(ctx, client, lease.WithTTL(ttl))
	if err != nil {
		return nil, err
	}
	serve := func(ctx context.Context, o *shard.Ownership) error {
		end := p.book.begin(int(o.Shard()), member)
		defer end()
		select {
		case <-o.Leaving():
		case <-ctx.Done():
		}
		return nil
	}
	m, err := shard.Join(ctx, s, p.name, member, serve, shard.WithShards(p.shards))
	if err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return func(ctx context.Context) error { return errors.Join(m.Close(ctx), s.Close(ctx)) }, nil
}

// joinRing has a member serve what the ring of those in its cache says. serve is called
// for each shard that it has by that, and ends with its context.
func joinRing(ctx context.Context, p *party, client *clientv3.Client, member string) (func(context.Context) error, error) {
	return joinRingWith(ctx, p, client, member, func(ctx context.Context, shard int) {
		end := p.book.begin(shard, member)
		defer end()
		<-ctx.Done()
	})
}

func joinRingWith(ctx context.Context, p *party, client *clientv3.Client, member string, serve func(ctx context.Context, shard int)) (func(context.Context) error, error) {
	s, err := lease.NewSession(ctx, client, lease.WithTTL(ttl))
	if err != nil {
		return nil, err
	}
	prefix := p.name + "/member/"
	reg, err := lease.Register(ctx, s, prefix+member, "")
	if err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	cache, err := watch.NewCache(ctx, client, prefix, func(string, []byte) (struct{}, error) { return struct{}{}, nil })
	if err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	over := make(chan struct{})
	go func() { // ends with life, and leave waits for it
		defer close(over)
		serveRing(life, p, cache, prefix, member, serve)
	}()
	return func(ctx context.Context) error {
		err := reg.Close(ctx) // the others take over
		end()
		<-over
		return errors.Join(err, cache.Close(ctx), s.Close(ctx))
	}, nil
}

// serveRing follows who is a member, and serves what is the member's own by that.
func serveRing(ctx context.Context, p *party, cache *watch.Cache[struct{}], prefix, member string, serve func(ctx context.Context, shard int)) {
	d := duties{serve: serve, ends: make([]context.CancelFunc, p.shards)}
	defer d.all.Wait()
	for s, err := range cache.Snapshots(ctx) {
		if err != nil {
			return
		}
		var members []string
		for key := range s.All() {
			members = append(members, strings.TrimPrefix(key, prefix))
		}
		for id, owner := range newRing(members).owners(p.shards) {
			d.set(ctx, id, owner == member)
		}
	}
}
