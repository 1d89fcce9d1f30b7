package queue

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/inside"
)

// asked is the key under which a context of Graced has the one that it was given.
type asked struct{}

// errGraceOver is the cause of the end of a context whose grace is over.
var errGraceOver = errors.New("the session's grace is over")

// Graced returns ctx without its end, which comes when the session's grace has passed
// since then: for what is given back when the caller is done. A release with it is not
// tried again after ctx's end if the server cannot be reached.
func (g *Grant) Graced(ctx context.Context) (context.Context, context.CancelFunc) {
	grace := inside.Of(g.entry.q.Session).Grace()
	within, cancel := context.WithCancelCause(context.WithValue(context.WithoutCancel(ctx), asked{}, ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(errGraceOver)
		case <-within.Done():
		}
	})
	return within, func() { stop(); cancel(nil) }
}

// errUnreachable says that nobody waits for a server that cannot be reached.
var errUnreachable = errors.New("the server cannot be reached")

// hopeless returns errUnreachable in place of an error that says so, if the caller of
// Graced is done.
func hopeless(ctx context.Context, err error) error {
	caller, ok := ctx.Value(asked{}).(context.Context)
	if ok && caller.Err() != nil && ctx.Err() == nil && attempt.Code(err) == codes.Unavailable {
		return errUnreachable
	}
	return err
}
