package watches_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/watches"
)

// hang bounds what should have happened long before.
const hang = time.Minute

func TestEachSideOfEachWorkMeasuresWhatIsDeclared(t *testing.T) {
	var pool perf.Pool
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	for _, w := range watches.Works() {
		t.Run(w.Name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), hang)
			defer cancel()
			measured, err := perf.Once(ctx, &pool, w)
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(measured), 2)
			require.Contains(t, measured, "conclave")
			for side, samples := range measured {
				require.Len(t, samples, len(w.Metrics), side)
				for i, m := range w.Metrics {
					require.NotEmpty(t, samples[m.Name], "%s of %s", m.Name, side)
					if i > 0 {
						continue // a difference
					}
					for _, v := range samples[m.Name] {
						require.Positive(t, v, "%s of %s", m.Name, side)
					}
				}
			}
		})
	}
}
