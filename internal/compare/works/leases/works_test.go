package leases_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/perf"
	"github.com/conclave-go/conclave/internal/compare/works/leases"
	"github.com/conclave-go/conclave/internal/compare/works/worktest"
)

// ttl is as short as in a run, since each has to renew while it is watched.
const ttl = 3 * time.Second

func TestEachSideOfEachWorkMeasuresWhatIsDeclared(t *testing.T) {
	works := []perf.Work{leases.Renewals(1, ttl), leases.Renewals(10, ttl)}
	worktest.Test{Works: works, Check: func(t *testing.T, measured map[string]perf.Samples) {
		t.Helper()
		for side, samples := range measured {
			for metric, all := range samples {
				require.Len(t, all, 1, "%s of %s", metric, side)
			}
		}
	}}.Run(t)
}
