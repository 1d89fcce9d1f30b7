package redislocks_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/redislocks"
)

// hang bounds what should have happened long before.
const hang = time.Minute

func TestEachSideOfEachWorkMeasuresWhatIsDeclared(t *testing.T) {
	var pool perf.Pool
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	for _, w := range redislocks.Works() {
		if w.Quick == 0 {
			continue // redsync with a node that hangs takes half a minute
		}
		t.Run(fmt.Sprintf("%s on %d", w.Name, w.On), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), hang)
			defer cancel()
			measured, err := perf.Once(ctx, &pool, w)
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(measured), 2)
			for side, samples := range measured {
				for _, m := range w.Metrics {
					require.NotEmpty(t, samples[m.Name], "%s of %s", m.Name, side)
					for _, v := range samples[m.Name] {
						require.Positive(t, v, "%s of %s", m.Name, side)
					}
				}
			}
		})
	}
}
