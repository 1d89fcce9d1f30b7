package chaos_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/chaos"
)

const ttl = 2 * time.Second

func everything(string, string) bool { return true }

func TestAScheduleFollowsFromItsSeed(t *testing.T) {
	t.Parallel()
	first := chaos.NewSchedule(7, ttl, 6, everything)
	require.Equal(t, first, chaos.NewSchedule(7, ttl, 6, everything))
	require.NotEqual(t, first.Entries, chaos.NewSchedule(8, ttl, 6, everything).Entries)
	require.Equal(t, chaos.Compose(7, 3, ttl, 6), chaos.Compose(7, 3, ttl, 6))
	require.NotEqual(t, chaos.Compose(7, 3, ttl, 6).Entries[0].Steps, chaos.Compose(7, 4, ttl, 6).Entries[0].Steps)
}

func TestAScenarioIsTheSameWhateverElseIsPlayed(t *testing.T) {
	t.Parallel()
	all := chaos.NewSchedule(7, ttl, 6, everything)
	alone := chaos.NewSchedule(7, ttl, 6, func(scenario, _ string) bool { return scenario == "kill" })
	require.Len(t, alone.Entries, 1)
	require.Contains(t, all.Entries, alone.Entries[0])
}

func TestAScheduleIsReadAsItWasSaved(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "schedule.json")
	want := chaos.NewSchedule(7, ttl, 6, everything)
	require.NoError(t, want.Save(path))
	got, err := chaos.ReadSchedule(path)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestAScheduleThatNobodyCanPlayIsRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{`:              "unexpected end",
		`{"entries":[]}`: "no entries",
		`{"entries":[{"scenario":"x","ttl":1500000000}]}`:                                                                 "whole seconds",
		`{"entries":[{"scenario":"x","ttl":1000000000,"systems":["y"]}]}`:                                                 `no system "y"`,
		`{"entries":[{"scenario":"x","ttl":1000000000,"steps":[{"fault":"thunder"}]}]}`:                                   `no fault "thunder"`,
		`{"entries":[{"scenario":"x","ttl":3000000000,"steps":[{"fault":"clock-slow","for":9000000000}]}]}`:               "0 percent",
		`{"entries":[{"scenario":"x","ttl":3000000000,"steps":[{"fault":"clock-slow","percent":100,"for":9000000000}]}]}`: "100 percent",
		`{"entries":[{"scenario":"x","ttl":3000000000,"steps":[{"fault":"clock-slow","percent":60,"for":5000000000}]}]}`:  "5s: must be longer",
	} {
		path := filepath.Join(t.TempDir(), "schedule.json")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := chaos.ReadSchedule(path)
		require.ErrorContains(t, err, want, text)
	}
	_, err := chaos.ReadSchedule(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// The figures that the lab is to reach with its usual number of rounds.
func TestTheScenariosHaveEnoughFaultsForLocksOnEtcd(t *testing.T) {
	t.Parallel()
	partitions, pauses := 0, 0
	for _, e := range chaos.NewSchedule(1, labTTL, labRounds, everything).Entries {
		ours := 0
		for _, s := range e.Systems {
			if s == "mutex" || s == "rwmutex" || s == "election" {
				ours++
			}
		}
		for _, s := range e.Steps {
			switch s.Fault {
			case "cut", "cut-in", "cut-out", "vanish", "cut-wait":
				partitions += ours
			case "pause", "stall":
				pauses += ours
			}
		}
	}
	require.GreaterOrEqual(t, partitions, 60)
	require.GreaterOrEqual(t, pauses, 40)
}
