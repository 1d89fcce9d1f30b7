package main

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/conclavetest"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

func names(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("m%d", i+1))
	}
	return all
}

func TestNoMemberGetsMoreThanItsBoundedLoad(t *testing.T) {
	t.Parallel()
	for n := 1; n <= maxMembers+1; n++ {
		for _, load := range []float64{1.1, 1.25, 2} {
			bound := math.Ceil(math.Floor(shards/float64(n)) * load)
			for m, has := range loads(owners(names(n), load), names(n)) {
				require.LessOrEqual(t, float64(has), bound, "%s of %d with load %v", m, n, load)
			}
		}
	}
}

func TestOwnersDependOnNothingButTheMembers(t *testing.T) {
	t.Parallel()
	of := names(5)
	want := owners(of, 1.1)
	slices.Reverse(of)
	require.Equal(t, want, owners(of, 1.1))
	require.Equal(t, []string{"m5", "m4", "m3", "m2", "m1"}, of, "the argument is left alone")
	require.Equal(t, make([]string, shards), owners(nil, 1.1))
}

func TestFewSeriesMoveUnlikeWithModulo(t *testing.T) {
	t.Parallel()
	all, chosen := allSeries(), []string{"tenant", "metric"}
	for n := 2; n < maxMembers; n++ {
		least := 1 / float64(n+1)
		ring := moved(byRing(all, chosen, names(n), 1.1), byRing(all, chosen, names(n+1), 1.1))
		assert.InDelta(t, 1.5*least, ring, 0.9*least, "%d members and one more", n)
		modulo := moved(byModulo(all, chosen, names(n)), byModulo(all, chosen, names(n+1)))
		assert.InDelta(t, 1-least, modulo, 0.1, "%d members and one more", n)
	}
}

func TestOnlyTheChosenLabelsDecide(t *testing.T) {
	t.Parallel()
	a, b := series{"tenant": "t", "metric": "m", "host": "1"}, series{"tenant": "t", "metric": "m", "host": "2"}
	chosen := []string{"tenant", "metric"}
	require.Equal(t, a.hash(chosen), b.hash(chosen))
	require.NotEqual(t, a.hash(labelNames()), b.hash(labelNames()))
	c, d := series{"tenant": "ab", "metric": "c"}, series{"tenant": "a", "metric": "bc"}
	require.NotEqual(t, c.hash(chosen), d.hash(chosen))
}

func TestDeviationIsThatOfTheWorst(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 1, deviation([]string{"a", "a", "b", "c"}, []string{"a", "b", "c", "d"}), 1e-9)
	require.InDelta(t, 0.25, moved([]string{"a", "a", "b", "c"}, []string{"a", "b", "b", "c"}), 1e-9)
}

func TestTheLedgerSeesTwoOwnersAndTokensThatDoNotRise(t *testing.T) {
	t.Parallel()
	client := conclavetest.NewCluster(t).Client(t)
	session, err := lease.NewSession(t.Context(), client, lease.WithTTL(10*time.Second))
	require.NoError(t, err)
	defer func() { require.NoError(t, session.Close(t.Context())) }()
	hold := func(name string) *lock.Hold {
		mutex, err := lock.NewMutex(session, name)
		require.NoError(t, err)
		h, err := mutex.Lock(t.Context())
		require.NoError(t, err)
		return h
	}
	older, newer := hold("a"), hold("b")

	var good ledger
	began := time.Now()
	good.end(good.begin(0, "m1", older))
	good.begin(0, "m2", newer)
	good.begin(1, "m3", newer)
	all, err := good.since(began)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, 3, good.grants())
	all, err = good.since(time.Now())
	require.NoError(t, err)
	require.Empty(t, all)

	var together ledger
	together.begin(7, "m1", older)
	together.begin(7, "m2", newer)
	_, err = together.since(began)
	require.ErrorContains(t, err, "shard 7: m1 had it with token")

	var falling ledger
	falling.end(falling.begin(7, "m1", newer))
	falling.begin(7, "m2", older)
	_, err = falling.since(began)
	require.ErrorContains(t, err, "shard 7: m1 had it with token")

	var lost ledger
	lost.begin(7, "m1", older) // whose owner does not take note
	require.NoError(t, older.Unlock(t.Context()))
	lost.begin(7, "m2", newer)
	_, err = lost.since(began)
	require.NoError(t, err)
}
