package chaos_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/chaos"
	"github.com/conclave-go/conclave/internal/redistest"
)

const (
	// labVariable, set to 1, plays all scenarios; or those that it names, by commas.
	labVariable = "CONCLAVE_CHAOS"
	// labSystemsVariable names the systems that are played, by commas; all if it is not set.
	labSystemsVariable = "CONCLAVE_CHAOS_SYSTEMS"
	// labSeedVariable plays others.
	labSeedVariable = "CONCLAVE_CHAOS_SEED"

	labSeed     = 1
	labTTL      = 2 * time.Second
	labRounds   = 6
	labParallel = 2
)

// TestLocksKeepWhatTheyPromiseAndEveryControlIsCaught is the lab with real processes.
// What happened is written to the folder of go test -artifacts.
func TestLocksKeepWhatTheyPromiseAndEveryControlIsCaught(t *testing.T) {
	which := os.Getenv(labVariable)
	if which == "" {
		t.Skipf("SKIPPED %s: it takes minutes; %s=1 plays it", t.Name(), labVariable)
	}
	seed := uint64(labSeed)
	if s := os.Getenv(labSeedVariable); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err, labSeedVariable)
	}
	systems := os.Getenv(labSystemsVariable)
	only := func(scenario, system string) bool {
		return (which == "1" || among(which, scenario)) && (systems == "" || among(systems, system))
	}
	s := chaos.NewSchedule(seed, labTTL, labRounds, only)
	require.NotEmpty(t, s.Entries, "%s=%s", labVariable, which)
	r, err := chaos.Run(t.Context(), chaos.Config{
		Schedule: s, Parallel: labParallel,
		Progress: func(p chaos.Progress) { t.Logf("%s: %s", p.Scenario, p.Text) },
	})
	t.Log("\n" + r.Text())
	save(t, r)
	require.NoError(t, err)
	require.NoError(t, r.Failed())
	if os.Getenv(redistest.RequireVariable) == "1" {
		require.NoError(t, r.Unproven())
	}
	if which == "1" && systems == "" {
		require.GreaterOrEqual(t, r.Ours.Partitions, 60)
		require.GreaterOrEqual(t, r.Ours.Pauses, 40)
	}
}

// among reports whether a name is one of those that are separated by commas.
func among(all, name string) bool { return slices.Contains(strings.Split(all, ","), name) }

// save writes the report and the history.
func save(t *testing.T, r *chaos.Report) {
	t.Helper()
	page, err := os.Create(filepath.Join(t.ArtifactDir(), "chaos.html"))
	require.NoError(t, err)
	require.NoError(t, r.Page(labVariable+"=1 go test ./internal/chaos").Write(page))
	require.NoError(t, page.Close())
	events, err := os.Create(filepath.Join(t.ArtifactDir(), "chaos.jsonl"))
	require.NoError(t, err)
	require.NoError(t, r.WriteHistory(events))
	require.NoError(t, events.Close())
}
