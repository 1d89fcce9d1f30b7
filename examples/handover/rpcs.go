package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// received is a line of etcd's metrics: a method, and how many requests of it have come.
var received = regexp.MustCompile(`^grpc_server_msg_received_total\{grpc_method="(\w+)",grpc_service="etcdserverpb\..*\} (\d+)`)

// rpcs returns how many requests etcd has received, by method. Requests on streams count,
// too.
func (v *show) rpcs(ctx context.Context) map[string]float64 {
	counts := make(map[string]float64)
	v.Do(func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+v.Endpoint()+"/metrics", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }() // it was only read
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if found := received.FindStringSubmatch(lines.Text()); found != nil {
				n, _ := strconv.ParseFloat(found[2], 64)
				counts[found[1]] += n
			}
		}
		return lines.Err()
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
