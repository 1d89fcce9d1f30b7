package perf

import (
	"fmt"
	"math"
	"slices"
)

// String returns the name by which the statistic is recorded.
func (s Stat) String() string {
	switch s {
	case P50:
		return "p50"
	case P90:
		return "p90"
	case P99:
		return "p99"
	case Mean:
		return "mean"
	default:
		return fmt.Sprintf("stat %d", int(s))
	}
}

// of makes the figure of sorted samples, of which there is at least one.
func (s Stat) of(sorted []float64) float64 {
	switch s {
	case P90:
		return quantile(sorted, .9)
	case P99:
		return quantile(sorted, .99)
	case Mean:
		sum := 0.0
		for _, v := range sorted {
			sum += v
		}
		return sum / float64(len(sorted))
	default:
		return quantile(sorted, .5)
	}
}

// quantile returns the q-quantile of sorted values, between two of them where it falls
// between them.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	below := int(math.Floor(at))
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

func sortedCopy(all []float64) []float64 { return slices.Sorted(slices.Values(all)) }

// String returns the name by which the servers are recorded.
func (s Servers) String() string {
	switch s {
	case None:
		return "none"
	case EtcdFast:
		return "etcd-fast"
	case EtcdDurable:
		return "etcd-durable"
	case EtcdCluster:
		return "etcd-cluster"
	case RedisOne:
		return "redis-one"
	case RedisFive:
		return "redis-five"
	default:
		return fmt.Sprintf("servers %d", int(s))
	}
}
