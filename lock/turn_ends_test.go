package lock_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
	"github.com/conclave-go/conclave/lock"
)

// endsWithGrant is the key of what ends a context.
type endsWithGrant struct{}

// Whoever waits is woken by its context, and finds that its turn has come.
func TestAContextThatEndsDuringTheGrantLosesNoTurn(t *testing.T) {
	t.Parallel()
	observer := lease.Observer{Granted: func(e lease.Event) { // it is told before who waits
		if end, ok := e.Context.Value(endsWithGrant{}).(context.CancelFunc); ok {
			end()
		}
	}}
	for what, opts := range map[string][]lock.Option{
		"hand-off": {lock.WithLocalHandoff(1000)},
		"linger":   {lock.WithLinger(time.Second)},
	} {
		for _, held := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, held by the process: %v", what, held), func(t *testing.T) {
				t.Parallel()
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					session, err := lease.NewSession(t.Context(), s.Client(), lease.WithTTL(partyTTL), lease.WithObserver(observer))
					require.NoError(t, err)
					m, err := lock.NewMutex(session, "lock", opts...)
					require.NoError(t, err)
					holder := m
					if !held {
						holder = newParty(t, s).mutex(t)
					}
					h := take(t, holder)
					ctx, cancel := context.WithCancel(anHour(t))
					done := soon(context.WithValue(ctx, endsWithGrant{}, cancel), m.Lock)
					stillWaits(t, done)
					unlock(t, h)
					next := granted(t, done)
					require.Error(t, ctx.Err())
					require.NoError(t, next.Err())
					unlock(t, next)
					unlock(t, take(t, holder))
					require.NoError(t, session.Close(t.Context()))
					requireKeys(t, s, "lock")
				})
			})
		}
	}
}
