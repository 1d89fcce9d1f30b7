package draw_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/perf/draw"
)

// figure is one of an invented run: side i of a work measures base times i + 1.
func figure(work string, on perf.Servers, metric, unit, stat string, base float64, i int) perf.Figure {
	f := perf.Figure{
		Work: work, Servers: on.String(), Metric: metric, Unit: unit, Stat: stat,
		Side: []string{"conclave", "rival", "raw"}[i], Value: base * float64(i+1),
	}
	if i > 0 {
		f.Lacks = "something"
		f.Ratio = perf.Ratio{Mid: float64(i + 1), Low: float64(i), High: float64(i + 2)}
	}
	return f
}

func figures() (all []perf.Figure) {
	add := func(work string, on perf.Servers, metric, unit string, base float64, stats ...string) {
		for _, stat := range stats {
			for i := range 3 {
				all = append(all, figure(work, on, metric, unit, stat, base, i))
			}
			base *= 2
		}
	}
	for _, n := range []int{2, 10, 100} {
		work := fmt.Sprintf("lock/contended/%d", n)
		add(work, perf.EtcdFast, "throughput", "1/s", 100, "p50")
		add(work, perf.EtcdFast, "hand-over", "ms", .5, "p50", "p90", "p99")
	}
	add("lock/writes/2", perf.EtcdFast, "hand-over", "ms", 1, "p50", "p90")
	add("election/crash", perf.EtcdFast, "fail-over", "ms", 3000, "p50")
	add("redis/uncontended", perf.RedisOne, "time", "µs", 100, "p50")
	add("redis/hung", perf.RedisFive, "time", "ms", 50, "p50")
	add("redis/throughput", perf.RedisFive, "throughput", "1/s", 50, "p50")
	return all
}

func sample(side string, value float64) perf.Sample {
	return perf.Sample{Work: "partition/told", Servers: "etcd-fast", Metric: perf.Margin, Side: side, Value: value}
}

func samples() []perf.Sample {
	return []perf.Sample{
		sample("conclave", 120),
		sample("rival", 30),
		sample("rival", -400),
	}
}

func TestChartsSayWhatWasMeasured(t *testing.T) {
	t.Parallel()
	charts, err := draw.Charts(figures(), samples())
	require.NoError(t, err)
	for name, says := range map[string][]string{
		"ratios.svg": {
			">lock<", ">contended/100: rival *<", ">election<", ">uncontended, 1 node: rival *<", ">hung, 5 nodes: rival *<", "2.0  (1.00–3.0)",
		},
		"limits.svg":     {">contended/2: raw<", "3.0  (2.0–4.0)"},
		"handover.svg":   {">conclave<", ">rival<", ">raw<", ">100<", ">clients that contend<"},
		"throughput.svg": {">conclave<", ">rival<", ">grants per second<"},
		"load.svg":       {">2 clients<", ">idle<", ">500 writes/s<"},
		"told.svg":       {">two holders in 0 of 1<", ">two holders in 1 of 2<"},
		"redis.svg":      {">uncontended<", ">1 node<", ">hung<", ">5 nodes<"},
	} {
		require.Contains(t, charts, name)
		for _, s := range says {
			require.Contains(t, string(charts[name]), s, name)
		}
	}
	require.Len(t, charts, 7)
	require.NotContains(t, string(charts["ratios.svg"]), ": raw<")
	require.NotContains(t, string(charts["limits.svg"]), "rival")
	require.NotContains(t, string(charts["redis.svg"]), "throughput", "it is no time")
	require.Equal(t, 1, strings.Count(string(charts["load.svg"]), ">500 writes/s<"))
	require.Equal(t, 1, strings.Count(string(charts["load.svg"]), ">idle<"), "only what has a counterpart")
}

func TestChartsOfNothingAreLeftOut(t *testing.T) {
	t.Parallel()
	charts, err := draw.Charts(nil, nil)
	require.NoError(t, err)
	require.Empty(t, charts)
}

func TestTheSameFiguresGiveTheSameCharts(t *testing.T) {
	t.Parallel()
	one, err := draw.Charts(figures(), samples())
	require.NoError(t, err)
	for range 5 {
		other, err := draw.Charts(figures(), samples())
		require.NoError(t, err)
		require.Equal(t, one, other)
	}
}

func TestAFigureThatCannotBeDrawnIsNamed(t *testing.T) {
	t.Parallel()
	f := figure("lock/contended/2", perf.EtcdFast, "throughput", "1/s", "p50", -1, 0)
	_, err := draw.Charts([]perf.Figure{f}, nil)
	require.EqualError(t, err, "throughput.svg: chart: conclave at 2: -1: want a value above 0 on a logarithmic axis")
}
