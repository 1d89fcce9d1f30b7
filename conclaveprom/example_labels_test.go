package conclaveprom_test

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/conclave-go/conclave/conclaveprom"
	"github.com/conclave-go/conclave/lease"
)

// Names that are few make good labels; what differs from lock to lock does not. Buckets
// follow what is usual in the program.
func ExampleWithNameLabel() {
	metrics, err := conclaveprom.New(
		conclaveprom.WithNameLabel(func(_, name string) string {
			family, _, _ := strings.Cut(name, "/") // "job" for "job/4711"
			return family
		}),
		conclaveprom.WithWatchLabel(func(key string) string { return strings.TrimSuffix(key, "/") }),
		conclaveprom.WithBuckets(0.001, 0.01, 0.1, 1, 10),
		conclaveprom.WithConstLabels(prometheus.Labels{"cluster": "blue"}))
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)

	// A session WithObserver(metrics.Lease()) makes these calls.
	metrics.Lease().Granted(lease.Event{Kind: "mutex", Name: "job/4711", Via: lease.ViaFree})
	families, err := registry.Gather()
	for _, f := range families {
		if f.GetName() == "conclave_lock_grants_total" {
			for _, label := range f.GetMetric()[0].GetLabel() {
				fmt.Println(label.GetName(), "=", label.GetValue())
			}
		}
	}
	fmt.Println(err)
	// Output:
	// cluster = blue
	// kind = mutex
	// name = job
	// via = free
	// <nil>
}
