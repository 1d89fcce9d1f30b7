package conclavetest_test

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/conclavetest"
)

// A demonstration that needs nothing but Go.
func ExampleStartCluster() {
	ctx := context.Background()
	cluster, err := conclavetest.StartCluster(ctx)
	if err != nil {
		panic(err)
	}
	defer func() { _ = cluster.Close() }()
	client, err := clientv3.New(clientv3.Config{Endpoints: cluster.Endpoints()})
	if err != nil {
		panic(err)
	}
	defer func() { _ = client.Close() }()

	resp, err := client.Put(ctx, "key", "value")
	fmt.Println(resp.Header.Revision, err)
	// Output: 2 <nil>
}

func ExampleStartRedis() {
	ctx := context.Background()
	nodes, err := conclavetest.StartRedis(3)
	if err != nil {
		panic(err)
	}
	defer func() { _ = nodes.Close() }()

	for _, address := range nodes.Addresses() {
		client := redis.NewClient(&redis.Options{Addr: address})
		fmt.Println(client.Ping(ctx).Result())
		_ = client.Close()
	}
	// Output:
	// PONG <nil>
	// PONG <nil>
	// PONG <nil>
}

func ExampleWithMembers() {
	ctx := context.Background()
	cluster, err := conclavetest.StartCluster(ctx, conclavetest.WithMembers(3))
	if err != nil {
		panic(err)
	}
	fmt.Println(len(cluster.Endpoints()), "members")
	fmt.Println(cluster.Close())
	// Output:
	// 3 members
	// <nil>
}
