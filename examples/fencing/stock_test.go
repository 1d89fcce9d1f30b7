//go:build (!race && !nosqlite) || sqlite

package main

import (
	"database/sql"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/lock"
)

// tables returns two ways to one table, as two processes have them.
func tables(t *testing.T, kind func(*sql.DB) *stock) (one, other *stock) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stock.db")
	open := func() *stock {
		db, err := sql.Open("sqlite", file)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		s := kind(db)
		require.NoError(t, s.create(t.Context()))
		return s
	}
	return open(), open()
}

func requireRow(t *testing.T, s *stock, amount int64, token lock.Token) {
	t.Helper()
	a, last, err := s.peek(t.Context())
	require.NoError(t, err)
	require.Equal(t, amount, a)
	require.Equal(t, token, last)
}

func requireStale(t *testing.T, err error, token, highest lock.Token) {
	t.Helper()
	var stale *lock.StaleTokenError
	require.ErrorAs(t, err, &stale)
	require.Equal(t, lock.StaleTokenError{Token: token, Highest: highest}, *stale)
}

func TestALateWriteIsRefusedAsSoonAsTheNextHolderHasLooked(t *testing.T) {
	t.Parallel()
	old, next := tables(t, guarded)
	const before, after lock.Token = 17<<20 | 5, 23 << 20
	_, err := old.look(t.Context(), before)
	require.NoError(t, err)
	amount, err := next.look(t.Context(), after)
	require.NoError(t, err)
	require.EqualValues(t, inStock, amount)
	requireStale(t, old.set(t.Context(), before, 1), before, after)
	requireRow(t, next, inStock, after)
	require.NoError(t, next.set(t.Context(), after, 2))
	_, err = old.look(t.Context(), before)
	requireStale(t, err, before, after)
	requireRow(t, next, 2, after)
}

func TestAHolderMayComeBack(t *testing.T) {
	t.Parallel()
	s, _ := tables(t, guarded)
	for amount := range int64(3) {
		_, err := s.look(t.Context(), math.MaxInt64)
		require.NoError(t, err)
		require.NoError(t, s.set(t.Context(), math.MaxInt64, amount))
		requireRow(t, s, amount, math.MaxInt64)
	}
}

func TestUnguardedALateWriteIsAccepted(t *testing.T) {
	t.Parallel()
	old, next := tables(t, unguarded)
	amount, err := old.look(t.Context(), 17)
	require.NoError(t, err)
	require.EqualValues(t, inStock, amount)
	require.NoError(t, next.set(t.Context(), 23, 6))
	require.NoError(t, old.set(t.Context(), 17, 7))
	requireRow(t, next, 7, 17)
}

func TestAMissingRowIsNotTakenForARefusal(t *testing.T) {
	t.Parallel()
	s, _ := tables(t, guarded)
	_, err := s.db.ExecContext(t.Context(), `DELETE FROM stock`)
	require.NoError(t, err)
	require.ErrorContains(t, s.set(t.Context(), 1, 1), "no row affected")
	_, err = s.look(t.Context(), 1)
	require.ErrorContains(t, err, "no row affected")
}
