package main

import (
	"errors"
	"io"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/examples/internal/program"
	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/lock"
)

// token returns the token of a revision.
func token(t *testing.T, revision string) lock.Token {
	t.Helper()
	tok, err := lock.ParseToken(revision)
	require.NoError(t, err)
	return tok
}

// example returns the events of an election in which c2 leads after c1, and c3 waits.
// c1 was told at 900 that its term is lost; its deadline was 1000.
func example(t *testing.T) []event {
	t.Helper()
	five, six, seven := token(t, "5"), token(t, "6"), token(t, "7")
	return []event{
		{At: 1, Worker: "c1", Kind: ready, TTL: time.Second, PID: 101},
		{At: 10, Kind: enqueued, Key: "e/1", Token: five},
		{At: 11, Worker: "c1", Kind: elected, Key: "e/1", Token: five, Until: 500},
		{At: 12, Kind: enqueued, Key: "e/3", Token: seven},
		{At: 13, Kind: enqueued, Key: "e/2", Token: six},
		{At: 14, Worker: "c3", Kind: waits, Key: "e/3"},
		{At: 15, Worker: "c2", Kind: waits, Key: "e/2"},
		{At: 20, Worker: "c1", Kind: leads, Token: five, Until: 1000},
		{At: 21, Kind: written, Token: five},
		{At: 900, Worker: "c1", Kind: told, Token: five},
		{At: 1500, Kind: dequeued, Key: "e/1"},
		{At: 1501, Worker: "c2", Kind: elected, Key: "e/2", Token: six, Until: 2500},
		{At: 1502, Kind: written, Token: six},
		{At: 1503, Worker: "c1", Kind: wrote, Token: five},
	}
}

// applied returns what a board makes of events.
func applied(events []event) *board {
	b := newBoard([]string{"c1", "c2", "c3"})
	for _, e := range events {
		b.apply(e)
	}
	return b
}

func TestBoardKnowsTheOrderOfTheQueue(t *testing.T) {
	t.Parallel()
	b := applied(example(t))
	assert.Equal(t, []string{"c2", "c3"}, b.line())
	assert.False(t, b.settled(), "c1 is not back")
	b.apply(event{Kind: enqueued, Key: "e/1b", Token: token(t, "9")})
	b.apply(event{Worker: "c1", Kind: waits, Key: "e/1b"})
	assert.Equal(t, []string{"c2", "c3", "c1"}, b.line())
	assert.True(t, b.settled())
	b.apply(event{Worker: "c2", Kind: resigns, Token: token(t, "6")})
	assert.False(t, b.settled(), "nobody leads")
}

func TestGoodRunHasNoProblems(t *testing.T) {
	t.Parallel()
	b := applied(example(t))
	require.NoError(t, b.record.verdict())
	assert.Contains(t, summary(b), "2 terms, 2 writes under their guard, and 1 too late, refused")
}

func TestVerdictDoesNotDependOnTheOrderInWhichEventsArrive(t *testing.T) {
	t.Parallel()
	events := example(t)
	events[9], events[11] = events[11], events[9]
	require.NoError(t, applied(events).record.verdict())
}

func TestWhatShouldNotHappenIsAProblem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(events []event)
		want   string
	}{
		"told late, and before the deadline": {
			func(events []event) { events[9].At, events[7].Until = 1600, 1700 },
			"two leaders for 0.00 ms: c1 in term 5 and c2 in term 6",
		},
		"never told, and before the deadline": {
			func(events []event) { events[9].Kind, events[7].Until = waits, 1700 },
			"two leaders",
		},
		"tokens that do not rise": {
			func(events []event) { events[11].Token = token(t, "4") },
			"term 4 of c2 came after term 5 of c1",
		},
		"late write accepted": {
			func(events []event) { events[13].OK = true },
			"a write by c1 after its term 5 was accepted",
		},
		"write of a former leader in etcd": {
			func(events []event) { events[12].Token = token(t, "5") },
			"etcd accepted a guarded write of term 5 while 6 was the first in the queue",
		},
	} {
		events := example(t)
		c.change(events)
		b := applied(events)
		require.ErrorContains(t, b.record.verdict(), c.want, name)
		assert.NotContains(t, summary(b), "Never two leaders", name)
	}
}

func TestDeadlineEndsATermThatNobodyWasToldOf(t *testing.T) {
	t.Parallel()
	events := example(t)
	events[9].At = 1600 // stopped, and woken after the next was elected
	require.NoError(t, applied(events).record.verdict())
}

func TestInterruptionExcusesNothing(t *testing.T) {
	t.Parallel()
	problem := errors.New("two leaders")
	require.NoError(t, judge(nil, nil))
	require.ErrorIs(t, judge(program.ErrInterrupted, nil), program.ErrInterrupted)
	require.NotErrorIs(t, judge(program.ErrInterrupted, problem), program.ErrInterrupted, "it has an exit code of its own")
	require.ErrorIs(t, judge(program.ErrInterrupted, problem), problem)
	require.ErrorIs(t, judge(io.EOF, problem), io.EOF)
	require.ErrorIs(t, judge(io.EOF, problem), problem)
}

func TestPanelFitsTheScreen(t *testing.T) {
	t.Parallel()
	b := applied(example(t))
	for _, a := range acts() {
		b.failovers = append(b.failovers, failover{act: a.name, took: time.Hour, told: -time.Hour})
	}
	for _, state := range []doing{starting, standing, leading, toldLost, killed, stopped, cutOff} {
		b.members.All()[0].doing = state
		for _, width := range []int{20, 80, 140} {
			for _, l := range (panel{screen.NewStyles(), width, explainKeys()}).draw(b) {
				assert.LessOrEqual(t, lipgloss.Width(l), width, "%q", l)
			}
		}
	}
}

func TestPanelShowsTheQueueInItsOrder(t *testing.T) {
	t.Parallel()
	b := applied(example(t))
	var names []string
	for _, m := range b.inOrder() {
		names = append(names, m.name)
	}
	assert.Equal(t, []string{"c2", "c3", "c1"}, names)
	draw := func(name string) string {
		state, detail := panel{width: 80}.describe(b, b.member(name))
		return state + " " + detail
	}
	assert.Regexp(t, `LEADS.* term 6, -?[\d.]+ s before its deadline`, draw("c2"))
	assert.Equal(t, "waits 1. in the queue, for c2", draw("c3"))
	assert.Regexp(t, `told.* that it lost term 5`, draw("c1"))
}

func TestFiguresAreSortedAndKeepTheWorstTold(t *testing.T) {
	t.Parallel()
	b := newBoard(nil)
	b.failovers = []failover{
		{act: "partition", took: 3 * time.Second, told: 400 * time.Millisecond},
		{act: "resign", took: 2 * time.Millisecond},
		{act: "partition", took: time.Second, told: 20 * time.Millisecond},
		{act: "partition", took: 2 * time.Second, told: 30 * time.Millisecond},
	}
	all := b.figure()
	require.Len(t, all, 2)
	assert.Regexp(t, `^partition +3 +1.00 s +2.00 s +3.00 s +20.0 ms before the next$`, all[0].row())
	assert.Regexp(t, `^resign +1 +2.00 ms +2.00 ms +2.00 ms$`, all[1].row())
}
