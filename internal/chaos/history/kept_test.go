package history_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/chaos/history"
)

// lost is a holder that is told of its loss.
func lost() *script {
	return new(script).grant("a", 10, 10, 900).
		add(history.Event{At: 850, Kind: history.Told, Worker: "a", Hold: "a", Until: 850}).
		gone("a", 11, 860).grant("b", 12, 870, 1800)
}

func TestALossIsABreakWhereNoneMayBe(t *testing.T) {
	t.Parallel()
	rules := history.Rules{TTL: ttl, Tokens: true}
	r := history.Check(lost().events, rules)
	require.False(t, r.Broken(history.Kept), "nobody has promised that")
	require.Equal(t, 1, r.Losses)
	rules.Kept = true
	require.True(t, properties(history.Check(lost().events, rules))[history.Kept])

	taken := lost().add(history.Event{At: 840, Kind: history.Begun, Hold: "a", Detail: history.Overrules})
	require.False(t, properties(history.Check(taken.events, rules))[history.Kept], "an operator took it away")

	rules.Late = func(from, to int64) time.Duration {
		if to-from == int64(ttl) {
			return ttl/10 + 1
		}
		return 0
	}
	r = history.Check(lost().events, rules)
	require.False(t, r.Broken(history.Kept), "the machine was too late to renew it")
	require.Len(t, r.Notes, 1)
}

func TestAnEntryWithNothingInItsWayIsGrantedInTimeWhereNoHoldMayBeLost(t *testing.T) {
	t.Parallel()
	rules := history.Rules{TTL: ttl, Tokens: true, Kept: true}
	b := token(11)
	waits := func(until int64) history.Result {
		s := new(script).grant("a", 10, 10, 900).wait("b", 11, 20).release("a", 12, 100)
		s.add(history.Event{At: until, Call: 15, Kind: history.Granted, Worker: "b", Hold: "b", Key: "b", Token: b, Until: 9000})
		return history.Check(s.events, rules)
	}
	require.False(t, properties(waits(2101))[history.L], "the TTL and a second after a's entry was gone")
	require.True(t, properties(waits(2102))[history.L])
	rules.Kept = false
	require.False(t, properties(waits(2102))[history.L])
	rules.Kept, b = true, 0
	require.False(t, properties(waits(2102))[history.L], "who knows what was in its way")
}

func TestAPlanMayTakeASecond(t *testing.T) {
	t.Parallel()
	died := func(next int64, planned bool) history.Result {
		s := new(script).grant("a", 10, 10, 900)
		s.add(history.Event{At: 20, Kind: history.Died, Worker: "a", Hold: "a"}).gone("a", 11, 1020).grant("b", 12, next, next+900)
		return history.Check(s.events, history.Rules{TTL: ttl, Tokens: true, Planned: planned})
	}
	require.False(t, properties(died(3020, true))[history.L])
	require.True(t, properties(died(3021, true))[history.L])
	require.False(t, properties(died(3021, false))[history.L], "b was not in the queue")
}

func TestRoundsAreCountedWhileTheServersAreBrokenAndNobodyKeepsTheLock(t *testing.T) {
	t.Parallel()
	s := new(script).grant("a", 10, 10, 900).release("a", 11, 20)
	s.add(history.Event{At: 30, Kind: history.Begun, Fault: "x", Point: "stay"}).grant("b", 12, 40, 900).release("b", 13, 50)
	s.add(history.Event{At: 60, Kind: history.Ended, Fault: "x"})
	s.add(history.Event{At: 70, Kind: history.Begun, Fault: "x"}).grant("c", 14, 80, 900).release("c", 15, 90)
	s.add(history.Event{At: 100, Kind: history.Ended, Fault: "x"}).grant("d", 16, 110, 900).release("d", 17, 120)
	s.add(history.Event{At: 130, Kind: history.Begun, Fault: "x", Worker: "w"}).grant("e", 18, 140, 900)
	r := s.check()
	require.Equal(t, 1, r.Rounds)
	require.Equal(t, 30*time.Millisecond, r.Free)
}
