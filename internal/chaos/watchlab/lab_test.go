package watchlab_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/chaos/watchlab"
	"github.com/conclave-go/conclave/internal/race"
	"github.com/conclave-go/conclave/internal/suite"
)

// bouts is how many are played unless the environment says so.
var bouts = suite.Long[uint64](1, 2)

// TestWatchesTellTheTruthUnderFaults plays bouts, always the same, and where the environment
// says how many, those after a seed that is drawn, or given to repeat them. It stops at the first
// that finds something.
func TestWatchesTellTheTruthUnderFaults(t *testing.T) {
	seed := uint64(1)
	if os.Getenv(watchlab.BoutsVariable) != "" {
		seed = rand.Uint64N(1_000_000)
	}
	n, first := int(number(t, watchlab.BoutsVariable, bouts)), number(t, watchlab.SeedVariable, seed)
	if n == 0 {
		t.Skipf("SKIPPED %s: %s=24 plays that many bouts", t.Name(), watchlab.BoutsVariable)
	}
	t.Logf("%d bouts from seed %d", n, first)
	var all watchlab.Tally
	for seed, played := first, 0; played < n; seed++ {
		plan := watchlab.NewPlan(seed)
		if race.Enabled && plan.TokenTTL > 0 {
			continue // each stream has a password checked, for as long as all else takes
		}
		played++
		r, err := watchlab.Play(t.Context(), plan)
		require.NoError(t, err, "seed %d", seed)
		all.Add(r.Tally)
		require.False(t, r.Failed(), "%s", r.Text())
		if n == 1 {
			t.Log(r.Text())
		}
		t.Logf("seed %d: nothing found in %d deliveries in %v", seed, r.Tally.Deliveries, r.Took)
	}
	t.Log(all.String())
}

// number returns what a variable says.
func number(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	require.NoError(t, err, variable)
	return n
}
