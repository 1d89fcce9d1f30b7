package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/conclave-go/conclave/lock"
)

const (
	item    = "bolts" // the only one in stock
	inStock = 10      // to begin with
)

// A token is a positive int64, so any signed 64-bit column holds it: INTEGER here,
// BIGINT elsewhere. It must not be stored as text, which sorts differently.
const createStock = `CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, amount INTEGER NOT NULL, token INTEGER NOT NULL)`

// The row remembers the token of its last user. Reading stores the token too: otherwise a
// stale write could slip in between the read and the write of the current holder, who would
// then overwrite it unknowingly. An equal token is accepted: it is the same holder's.
const (
	guardedLook = `UPDATE stock SET token = ?2 WHERE item = ?1 AND token <= ?2 RETURNING amount`
	guardedSet  = `UPDATE stock SET amount = ?3, token = ?2 WHERE item = ?1 AND token <= ?2`
)

// The same without the check.
const (
	unguardedLook = `SELECT amount FROM stock WHERE item = ?1`
	unguardedSet  = `UPDATE stock SET amount = ?3, token = ?2 WHERE item = ?1`
)

// stock is a table in a file that processes share.
type stock struct {
	db              *sql.DB
	lookSQL, setSQL string
}

func guarded(db *sql.DB) *stock   { return &stock{db, guardedLook, guardedSet} }
func unguarded(db *sql.DB) *stock { return &stock{db, unguardedLook, unguardedSet} }

// create makes the table, and fills it, if there is none.
func (s *stock) create(ctx context.Context) error {
	if _, err := s.db.ExecContext(ctx, createStock); err != nil {
		return err
	}
	_, err := s.db.ExecContext(ctx, `INSERT OR IGNORE INTO stock VALUES (?1, ?2, 0)`, item, inStock)
	return err
}

// peek returns the row to somebody without the lock.
func (s *stock) peek(ctx context.Context) (amount int64, last lock.Token, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT amount, token FROM stock WHERE item = ?1`, item).Scan(&amount, &last)
	return amount, last, err
}

// look returns the amount to the holder of a token, or a [*lock.StaleTokenError].
func (s *stock) look(ctx context.Context, t lock.Token) (amount int64, err error) {
	err = s.db.QueryRowContext(ctx, s.lookSQL, item, int64(t)).Scan(&amount)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, s.refusal(ctx, t)
	}
	return amount, err
}

// set changes the amount for the holder of a token. A [*lock.StaleTokenError] says
// that nothing was changed.
func (s *stock) set(ctx context.Context, t lock.Token, amount int64) error {
	done, err := s.db.ExecContext(ctx, s.setSQL, item, int64(t), amount)
	if err != nil {
		return err
	}
	if rows, err := done.RowsAffected(); err != nil || rows > 0 {
		return err
	}
	return s.refusal(ctx, t)
}

// refusal says why no row was affected.
func (s *stock) refusal(ctx context.Context, t lock.Token) error {
	_, last, err := s.peek(ctx)
	if err != nil {
		return fmt.Errorf("no row affected, and no reason found: %w", err)
	}
	return &lock.StaleTokenError{Token: t, Highest: last}
}
