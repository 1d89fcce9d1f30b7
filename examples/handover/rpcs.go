package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-go/conclave/examples/internal/theatre"
)

// received is a line of etcd's metrics: a method, and how many requests of it have come.
var received = regexp.MustCompile(`^grpc_server_msg_received_total\{grpc_method="(\w+)",grpc_service="etcdserverpb\..*\} (\d+)`)

// rpcs returns how many requests etcd has received, by method. Requests on streams count,
// too.
func (v *show) rpcs(ctx context.Context) map[string]float64 {
	counts := make(map[string]float64)
	v.Do(func() error {
		_, metrics, err := theatre.Request(ctx, http.MethodGet, "http://"+v.Endpoint()+"/metrics", http.NoBody)
		for line := range strings.Lines(metrics) {
			if found := received.FindStringSubmatch(line); found != nil {
				n, _ := strconv.ParseFloat(found[2], 64)
				counts[found[1]] += n
			}
		}
		return err
	})
	return counts
}

// perTurn says what came between two counts, as a sum and the methods that matter.
func perTurn(after, before map[string]float64, turns int) string {
	total, rest, parts := 0.0, 0.0, []string(nil)
	for _, method := range slices.Sorted(maps.Keys(after)) {
		per := (after[method] - before[method]) / float64(turns)
		total += per
		if per < 0.2 {
			rest += per
			continue
		}
		parts = append(parts, fmt.Sprintf("%s %.2f", method, per))
	}
	return fmt.Sprintf("%.2f: %s, others %.2f", total, strings.Join(parts, ", "), rest)
}
