package redlockprom_test

import (
	"context"
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/conclave-go/conclave/conclaveprom/redlockprom"
	"github.com/conclave-go/conclave/redlock"
)

func ExampleNew() {
	metrics, err := redlockprom.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	prometheus.NewRegistry().MustRegister(metrics)
	client := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS")})
	defer func() { _ = client.Close() }()
	nodes, err := redlock.NewNodes([]redis.UniversalClient{client}, redlock.WithObserver(metrics.Redlock()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = nodes.Close(context.Background()) }()
	fmt.Println(testutil.CollectAndCount(metrics, "conclave_redlock_holds"), "holds so far")
	// Output:
	// 0 holds so far
}
