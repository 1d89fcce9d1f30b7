package conclaveotel_test

import (
	"context"
	"fmt"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/conclave-go/conclave/conclaveotel"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

func ExampleNew() {
	ctx := context.Background()
	cluster, err := etcdtest.Start(ctx) // a program has an etcd of its own
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cluster.Close() }()
	client, err := cluster.NewClient()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()

	exporter := tracetest.NewInMemoryExporter() // a program has one that sends
	tracer, err := conclaveotel.New(conclaveotel.WithTracerProvider(sdk.NewTracerProvider(sdk.WithSyncer(exporter))))
	if err != nil {
		fmt.Println(err)
		return
	}
	session, err := lease.NewSession(ctx, client, lease.WithObserver(tracer.Lease()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = session.Close(ctx) }()
	mutex, err := lock.NewMutex(session, "job")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := mutex.Do(ctx, func(context.Context, *lock.Hold) error { return nil }); err != nil {
		fmt.Println(err)
		return
	}
	for _, span := range exporter.GetSpans() {
		fmt.Println(span.Name)
	}
	// Output:
	// conclave.Lock
	// conclave.Unlock
}
