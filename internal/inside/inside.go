// Package inside is what Conclave's own packages share through a session and its
// leases, and what users of package lease have no use for.
package inside

import (
	"context"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/inside/hooks"
	"github.com/conclave-go/conclave/internal/look"
	"github.com/conclave-go/conclave/lease"
)

// Session is the inside of a [lease.Session].
type Session interface {
	// Roomy returns a live lease of the session that carries fewer keys than would
	// make it slow, and grants another if there is none.
	Roomy(ctx context.Context) (*lease.Lease, error)
	// Shared is what the users of the session in this process have in common, by
	// keys of their own types.
	Shared() *sync.Map
	// Heard returns the callbacks of the observer, nil if none of them is for
	// acquisitions.
	Heard() *lease.Observer
	// Context returns a context that is done once the session is closed.
	Context() context.Context
	// Go runs fn in the background, with a context that ends with the session, unless
	// that is closed; Close waits for it. It reports whether it does.
	Go(fn func(ctx context.Context)) bool
	// Caller is told when a request has no answer.
	Caller() *attempt.Caller
	// Grace is how long giving back what is held may take after the caller's context
	// is done, see [lease.WithGrace].
	Grace() time.Duration
}

// Of returns the inside of a session.
func Of(s *lease.Session) Session {
	//nolint:errcheck,forcetypeassert // lease sees to it
	return hooks.Session(s).(Session)
}

// Keys returns the keys that the lease's rounds look at.
func Keys(l *lease.Lease) *look.List { return hooks.Keys(l) }
