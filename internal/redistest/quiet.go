package redistest

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// Quiet lets go-redis log nothing, from TestMain: it has a line for each connection that fails, which
// is what tests make connections do.
func Quiet() { redis.SetLogger(silent{}) }

// silent is a logger that logs nothing.
type silent struct{}

// Printf does nothing.
func (silent) Printf(context.Context, string, ...any) {}
