package watchlab_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/chaos/watchlab"
)

// history is: a and b are changed together at 3, a is deleted at 4.
func history() watchlab.History {
	return watchlab.NewHistory(3, "a=1", "a=2 b=1", "-a", "c=1", "b=2 c=2")
}

func TestWhatAStreamMayDeliverIsNoFinding(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string][]watchlab.Step{
		"each revision":   {{From: 2}, {Revision: 2, Events: "a=1"}, {Revision: 3, Events: "a=2 b=1"}, {Revision: 4, Events: "-a"}},
		"several at once": {{From: 2}, {Revision: 5, Events: "a=1 a=2 b=1 -a c=1"}, {Revision: 6, Events: "b=2 c=2"}},
		"from now":        {{From: -1}, {Revision: 3}, {Revision: 4, Events: "-a"}},
		"snapshot":        {{From: -1, Acked: 3}, {Revision: 3, Snapshot: true, Events: "a=2 b=1"}, {Revision: 4, Events: "-a"}},
		"resync":          {{From: -1}, {Revision: 3, Snapshot: true, Events: "a=2 b=1"}, {Revision: 5, Resync: true, Events: "c=1 -a"}},
		"compacted":       {{From: 2}, {Ended: watchlab.Compacted(2, 3)}},
		"another after":   {{From: 2}, {Revision: 2, Events: "a=1"}, {From: 3}, {Revision: 3, Events: "a=2 b=1"}},
	} {
		_, err := history().Check(false, steps...)
		require.NoError(t, err, name)
	}
	_, err := history().Check(true, watchlab.Step{From: 2}, watchlab.Step{Revision: 5, Events: "b=1 -a c=1"})
	require.NoError(t, err, "conflated")
}

func TestWhatAStreamMustNotDeliverIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		check     watchlab.Check
		steps     []watchlab.Step
		conflated bool
	}{
		"missing":            {watchlab.Events, []watchlab.Step{{From: 2}, {Revision: 2, Events: "a=1"}, {Revision: 4, Events: "-a"}}, false},
		"divided":            {watchlab.Events, []watchlab.Step{{From: 3}, {Revision: 3, Events: "a=2"}, {Revision: 4, Events: "b=1 -a"}}, false},
		"twice in a batch":   {watchlab.Events, []watchlab.Step{{From: 2}, {Revision: 2, Events: "a=1 a=1"}}, false},
		"twice":              {watchlab.Events, []watchlab.Step{{From: 2}, {Revision: 2, Events: "a=1"}, {Revision: 3, Events: "a=1 a=2 b=1"}}, false},
		"order":              {watchlab.Events, []watchlab.Step{{From: 3}, {Revision: 4, Events: "-a a=2 b=1"}}, false},
		"never was":          {watchlab.Events, []watchlab.Step{{From: 2}, {Revision: 2, Events: "a=7"}}, false},
		"two of a key":       {watchlab.Events, []watchlab.Step{{From: 2}, {Revision: 3, Events: "a=1 a=2 b=1"}}, true},
		"conflated away":     {watchlab.Events, []watchlab.Step{{From: 2}, {Revision: 4, Events: "b=1"}}, true},
		"not empty from now": {watchlab.Events, []watchlab.Step{{From: -1}, {Revision: 3, Events: "a=2 b=1"}}, false},
		"same revision":      {watchlab.Revisions, []watchlab.Step{{From: 2}, {Revision: 2, Events: "a=1"}, {Revision: 2}}, false},
		"back":               {watchlab.Revisions, []watchlab.Step{{From: 4}, {Revision: 5, Events: "-a c=1"}, {Revision: 4}}, false},
		"above the store":    {watchlab.Revisions, []watchlab.Step{{From: 6}, {Revision: 7, Events: "b=2 c=2"}}, false},
		"a key too few":      {watchlab.Snapshots, []watchlab.Step{{From: -1}, {Revision: 3, Snapshot: true, Events: "a=2"}}, false},
		"an older value":     {watchlab.Snapshots, []watchlab.Step{{From: -1}, {Revision: 3, Snapshot: true, Events: "a=1 b=1"}}, false},
		"a deleted key":      {watchlab.Snapshots, []watchlab.Step{{From: -1}, {Revision: 4, Snapshot: true, Events: "a=2 b=1"}}, false},
		"order of keys":      {watchlab.Snapshots, []watchlab.Step{{From: -1}, {Revision: 3, Snapshot: true, Events: "b=1 a=2"}}, false},
		"too old":            {watchlab.Snapshots, []watchlab.Step{{From: -1, Acked: 4}, {Revision: 3, Snapshot: true, Events: "a=2 b=1"}}, false},
		"not the first":      {watchlab.Snapshots, []watchlab.Step{{From: 2}, {Revision: 2, Events: "a=1"}, {Revision: 3, Snapshot: true, Events: "a=2 b=1"}}, false},
		"no deletion":        {watchlab.Resyncs, []watchlab.Step{{From: 3}, {Revision: 3, Events: "a=2 b=1"}, {Revision: 5, Resync: true, Events: "c=1"}}, false},
		"no difference":      {watchlab.Resyncs, []watchlab.Step{{From: 3}, {Revision: 3, Events: "a=2 b=1"}, {Revision: 5, Resync: true, Events: "b=1 c=1 -a"}}, false},
		"resync is dropped":  {watchlab.Events, []watchlab.Step{{From: 3}, {Revision: 3, Events: "a=2 b=1"}, {Revision: 5}}, false},
		"order of revisions": {watchlab.Resyncs, []watchlab.Step{{From: 2}, {Revision: 2, Events: "a=1"}, {Revision: 5, Resync: true, Events: "c=1 b=1 -a"}}, false},
		"not compacted":      {watchlab.Errors, []watchlab.Step{{From: 3}, {Ended: watchlab.Compacted(3, 4)}}, false},
		"needs no history":   {watchlab.Errors, []watchlab.Step{{From: 3}, {Ended: watchlab.Compacted(3, 3)}}, false},
		"gap before the end": {watchlab.Errors, []watchlab.Step{{From: 1}, {Revision: 1}, {Ended: watchlab.Compacted(1, 3)}}, false},
		"another error":      {watchlab.Errors, []watchlab.Step{{From: 2}, {Ended: errors.New("no")}}, false},
	} {
		check, err := history().Check(c.conflated, c.steps...)
		require.Error(t, err, name)
		require.Equal(t, c.check, check, "%s: %v", name, err)
	}
}

func TestChangesOfACacheAreCompared(t *testing.T) {
	t.Parallel()
	ok := [][]watchlab.Change{
		{{Event: "a=1"}, {Event: "a=2"}, {Event: "b=1"}, {Event: "-a", At: 4}},
		{{Event: "a=1"}, {Event: "-a", At: 5}}, // noticed later
		{{Event: "a=2"}, {Event: "b=2"}},       // what is replaced may be left out
	}
	for _, list := range ok {
		require.NoError(t, history().CheckChanges(list...))
	}
	for name, list := range map[string][]watchlab.Change{
		"order":     {{Event: "a=2"}, {Event: "a=1"}},
		"twice":     {{Event: "b=1"}, {Event: "b=1"}},
		"never was": {{Event: "b=3", At: 3}},
		"not yet":   {{Event: "a=2"}, {Event: "-a", At: 3}},
		"again":     {{Event: "-a", At: 4}, {Event: "-a", At: 5}},
	} {
		require.Error(t, history().CheckChanges(list...), name)
	}
}

func TestAPlanIsAFunctionOfItsSeed(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for seed := range uint64(200) {
		text := watchlab.NewPlan(seed).String()
		require.Equal(t, text, watchlab.NewPlan(seed).String())
		seen[text] = true
	}
	require.Len(t, seen, 200)
}
