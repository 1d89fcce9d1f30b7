package queue

import (
	"context"
	"errors"
	"time"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/inside"
)

// graced is the key under which a context of Graced has what it was made of.
type graced struct{}

// grace is what a context of Graced was made of.
type grace struct {
	caller context.Context //nolint:containedctx // asked whether it is done
	length time.Duration
}

var (
	// errGraceOver is the cause of the end of a context whose grace is over.
	errGraceOver = errors.New("the session's grace is over")
	// errUnreachable says that nobody waits for a server that cannot be reached.
	errUnreachable = errors.New("the server cannot be reached")
)

// Graced returns ctx without its end, which comes when the session's grace has passed
// since then, or when the client finds no connection: for what is given back when the
// caller is done.
func (g *Grant) Graced(ctx context.Context) (context.Context, context.CancelFunc) {
	session := g.entry.q.Session
	given := grace{ctx, inside.Of(session).Grace()}
	within, cancel := context.WithCancelCause(context.WithValue(context.WithoutCancel(ctx), graced{}, given))
	stop := context.AfterFunc(ctx, func() { // ends with within
		limited, end := context.WithTimeoutCause(within, given.length, errGraceOver)
		defer end()
		if attempt.AwaitFailure(limited, session.Client()) {
			cancel(errUnreachable)
		} else {
			cancel(context.Cause(limited))
		}
	})
	return within, func() { stop(); cancel(nil) }
}

// hurried returns the patience of a request that has ctx: there are several attempts in the
// grace if the caller of Graced is done.
func hurried(ctx context.Context, patience time.Duration) time.Duration {
	if given, ok := ctx.Value(graced{}).(grace); ok && given.caller.Err() != nil {
		return attempt.Within(given.length, patience)
	}
	return patience
}
