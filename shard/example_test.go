package shard_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/shard"
)

// exampleSession connects to an etcd of its own. Programs call clientv3.New and
// lease.NewSession.
func exampleSession(ctx context.Context) (session *lease.Session, client *clientv3.Client, stop func()) {
	cluster, err := etcdtest.Start(ctx)
	if err != nil {
		panic(err)
	}
	client, err = cluster.NewClient()
	if err != nil {
		panic(err)
	}
	session, err = lease.NewSession(ctx, client)
	if err != nil {
		panic(err)
	}
	return session, client, func() {
		_ = session.Close(ctx)
		_ = client.Close()
		_ = cluster.Close()
	}
}

// untilTold serves a shard until it is to go.
func untilTold(ctx context.Context, o *shard.Ownership) error {
	select {
	case <-o.Leaving():
	case <-ctx.Done():
	}
	return nil
}

// A member serves its shards, each until it is told to let it go.
func ExampleJoin() {
	ctx := context.Background()
	session, _, stop := exampleSession(ctx)
	defer stop()

	member, err := shard.Join(ctx, session, "mailer", "pod-7", func(ctx context.Context, o *shard.Ownership) error {
		for tick := time.Tick(time.Second); ; {
			select {
			case <-tick:
				// Deliver what is due for o.Shard(), with o.Txn or o.Token().
			case <-o.Leaving():
				return nil // what is in hand is finished, and what is to stay written
			case <-ctx.Done():
				return ctx.Err() // it is lost: at once
			}
		}
	}, shard.WithShards(8))
	if err != nil {
		panic(err)
	}
	defer func() { _ = member.Close(ctx) }() // hands everything over
	fmt.Println(member.Ready(ctx))
	fmt.Println(member.Owned())
	// Output:
	// <nil>
	// [0 1 2 3 4 5 6 7]
}

// A write that takes effect only while the shard is owned, however late it comes.
func ExampleOwnership_Txn() {
	ctx := context.Background()
	session, client, stop := exampleSession(ctx)
	defer stop()

	written := make(chan error, 1)
	member, err := shard.Join(ctx, session, "mailer", "pod-7", func(ctx context.Context, o *shard.Ownership) error {
		key := fmt.Sprintf("mailer-position/%d", o.Shard())
		_, err := o.Txn(ctx).Then(clientv3.OpPut(key, "1042")).Commit()
		written <- err
		return untilTold(ctx, o)
	}, shard.WithShards(1))
	if err != nil {
		panic(err)
	}
	defer func() { _ = member.Close(ctx) }()
	fmt.Println(<-written)
	resp, err := client.Get(ctx, "mailer-position/0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", resp.Kvs[0].Value)
	// Output:
	// <nil>
	// 1042
}

// Drain hands everything over and returns when it is done: what a process does with SIGTERM
// before it stops.
func ExampleMember_Drain() {
	ctx := context.Background()
	session, _, stop := exampleSession(ctx)
	defer stop()
	join := func(name string) *shard.Member {
		m, err := shard.Join(ctx, session, "mailer", name, untilTold, shard.WithShards(8))
		if err != nil {
			panic(err)
		}
		if err := m.Ready(ctx); err != nil {
			panic(err)
		}
		return m
	}
	old := join("pod-7")
	replacement := join("pod-8")
	fmt.Println(old.Drain(ctx), old.Owned())
	fmt.Println(replacement.Ready(ctx), len(replacement.Owned()))
	_ = old.Close(ctx)
	_ = replacement.Close(ctx)
	// Output:
	// <nil> []
	// <nil> 8
}

// A router says who owns a key's shard, without asking etcd.
func ExampleNewRouter() {
	ctx := context.Background()
	session, client, stop := exampleSession(ctx)
	defer stop()
	member, err := shard.Join(ctx, session, "mailer", "pod-7", untilTold, shard.WithShards(64), shard.WithValue("10.0.0.7:8080"))
	if err != nil {
		panic(err)
	}
	defer func() { _ = member.Close(ctx) }()

	router, err := shard.NewRouter(ctx, client, "mailer")
	if err != nil {
		panic(err)
	}
	defer func() { _ = router.Close(ctx) }()
	id := router.Of("tenant-42")
	for c, err := range router.Changes(ctx) { // first all that there is, then what changes
		if err != nil {
			panic(err)
		}
		if c.Shard == id && c.Route.Member != "" {
			break
		}
	}
	route, owned := router.Owner(id)
	fmt.Println(id, owned, route.Member, route.Value, route.Token > 0)
	// Output: 8 true pod-7 10.0.0.7:8080 true
}

// An operator gives a shard to a member by hand, and takes that back.
func ExampleMove() {
	ctx := context.Background()
	session, client, stop := exampleSession(ctx)
	defer stop()
	var members []*shard.Member
	for _, name := range []string{"pod-7", "pod-8"} {
		m, err := shard.Join(ctx, session, "mailer", name, untilTold, shard.WithShards(4))
		if err != nil {
			panic(err)
		}
		members = append(members, m)
		if err := m.Ready(ctx); err != nil {
			panic(err)
		}
	}
	for id := range shard.ID(4) {
		if err := shard.Move(ctx, client, "mailer", id, "pod-8"); err != nil {
			panic(err)
		}
	}
	for {
		status, err := shard.Inspect(ctx, client, "mailer")
		if err != nil {
			panic(err)
		}
		if !slices.ContainsFunc(status.Shards, func(s shard.OwnerStatus) bool { return s.Owner != "pod-8" }) {
			fmt.Println("all with", status.Shards[0].Owner, "pinned to", status.Shards[0].Pinned)
			break
		}
	}
	for id := range shard.ID(4) {
		if err := shard.Move(ctx, client, "mailer", id, ""); err != nil {
			panic(err)
		}
	}
	for _, m := range members {
		_ = m.Close(ctx)
	}
	// Output: all with pod-8 pinned to pod-8
}

// Shards that are not alike: an assigner that gives the heavy ones to who has most room.
func ExampleAssignFunc() {
	load := map[shard.ID]int{0: 30, 1: 10, 2: 10, 3: 10} // from somewhere that all planners read
	byLoad := shard.AssignFunc(func(in shard.Input) (shard.Plan, error) {
		has := map[string]int{}
		for _, m := range in.Members {
			if m.State == shard.Active {
				has[m.Name] = 0
			}
		}
		owners := make([]string, in.Shards)
		for id := range owners {
			least := ""
			for _, m := range in.Members { // by name, so that the same input gives the same plan
				if n, active := has[m.Name]; active && (least == "" || n < has[least]) {
					least = m.Name
				}
			}
			owners[id] = least
			has[least] += load[shard.ID(id)]
		}
		return shard.Plan{Owners: owners}, nil
	})
	plan, err := byLoad.Assign(shard.Input{Shards: 4, Members: []shard.MemberInfo{{Name: "pod-7"}, {Name: "pod-8"}}})
	fmt.Println(plan.Owners, err)
	// Output: [pod-7 pod-8 pod-8 pod-8] <nil>
}

// Which shard a key is in: any language finds the same.
func ExampleOf() {
	for _, key := range []string{"", "a", "tenant-42", "日本"} {
		fmt.Printf("%q %d %d\n", key, shard.Of(key, 1000), shard.Of(key, 64))
	}
	// Output:
	// "" 652 20
	// "a" 250 10
	// "tenant-42" 200 8
	// "日本" 331 11
}
