package main

import (
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

const ms = int64(time.Millisecond)

// recordOf takes in events.
func recordOf(events ...event) *record {
	r := &record{}
	for _, e := range events {
		r.apply(e)
	}
	return r
}

func TestTheTimeOfTwoHoldersIsCountedOnce(t *testing.T) {
	t.Parallel()
	r := recordOf(
		event{At: 10 * ms, Worker: "w1", Kind: granted},
		event{At: 20 * ms, Worker: "w2", Kind: granted},
		event{At: 30 * ms, Worker: "w2", Kind: released, Until: 90 * ms},
		event{At: 40 * ms, Worker: "w3", Kind: granted},
		event{At: 45 * ms, Worker: "w2", Kind: granted},
		event{At: 55 * ms, Worker: "w2", Kind: released, Until: 90 * ms},
		event{At: 60 * ms, Worker: "w3", Kind: released, Until: 90 * ms},
	)
	assert.Equal(t, 10*time.Millisecond, r.together(), "w3 and w2; w1 still has it")
	r.apply(event{At: 70 * ms, Worker: "w1", Kind: lost, Until: 50 * ms})
	assert.Equal(t, 25*time.Millisecond, r.together(), "20 to 30 and 40 to 55")
}

func TestAHoldEndsAtItsDeadlineHoweverLateItIsTold(t *testing.T) {
	t.Parallel()
	r := recordOf(
		event{At: 10 * ms, Worker: "w1", Kind: granted},
		event{At: 30 * ms, Worker: "w2", Kind: granted},
		event{At: 40 * ms, Worker: "w1", Kind: lost, Until: 20 * ms},
		event{At: 50 * ms, Worker: "w2", Kind: released, Until: 90 * ms},
	)
	assert.Zero(t, r.together())
	assert.Equal(t, 1, r.grantsAfter(10*ms))
}

func TestVerdictsSayWhatBroke(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		verdict    verdict
		documented bool
		says       string
	}{
		{verdict{written: 5}, true, "held: never two holders, all 5 updates are there"},
		{verdict{written: 5, expected: true}, false, "held, though it was to BREAK here"},
		{verdict{written: 5, expected: true, together: time.Second}, true, "BROKEN, as Redlock must: two holders for 1.00 s"},
		{verdict{written: 5, expected: true, missing: 2}, true, "BROKEN, as Redlock must: a write came too late, 2 of 5 updates lost"},
		{verdict{written: 5, missing: 2}, false, "BROKEN, as Redlock must NOT: "},
		{verdict{written: 5, together: 1}, false, "BROKEN, as Redlock must NOT: "},
	} {
		assert.Equal(t, tc.documented, tc.verdict.asDocumented(), tc.says)
		assert.Contains(t, tc.verdict.String(), tc.says)
		err := asDocumented([]result{{act: act{name: "x"}, verdict: tc.verdict}})
		if tc.documented {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, "x: ")
		assert.Contains(t, table([]result{{verdict: tc.verdict}}, screen.Styles{}), tc.says)
	}
}

func TestBoardCountsNoHandOverOfAFreeLock(t *testing.T) {
	t.Parallel()
	b := exampleBoard()
	require.Equal(t, []time.Duration{5 * time.Millisecond}, b.handovers)
	b.apply(event{At: 70 * ms, Worker: "w2", Kind: released, Until: 90 * ms})
	b.apply(event{At: 80 * ms, Worker: "w1", Kind: wants})
	b.apply(event{At: 81 * ms, Worker: "w1", Kind: granted})
	assert.Len(t, b.handovers, 1)
}

// exampleBoard is one on which w2 has the lock, after w1, and a node is down.
func exampleBoard() *board {
	b := newBoard([]string{"w1", "w2", "w3"}, 5)
	for _, e := range []event{
		{At: 10 * ms, Worker: "w1", Kind: granted, PID: 101},
		{At: 20 * ms, Worker: "w2", Kind: wants},
		{At: 30 * ms, Worker: "w1", Kind: released, Until: 90 * ms},
		{At: 35 * ms, Worker: "w2", Kind: granted},
		{At: 40 * ms, Worker: "w3", Kind: acted, Detail: string(stopped)},
	} {
		b.apply(e)
	}
	b.nodes[2], b.nodes[4] = down, ahead
	return b
}

func TestPanelFitsTheScreen(t *testing.T) {
	t.Parallel()
	for _, width := range []int{20, 80, 140} {
		for _, l := range (panel{screen.NewStyles(), width}).draw(exampleBoard()) {
			assert.LessOrEqual(t, lipgloss.Width(l), width, "%q", l)
		}
	}
}
