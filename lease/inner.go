package lease

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-go/conclave/internal/attempt"
	"github.com/conclave-go/conclave/internal/inside/hooks"
	"github.com/conclave-go/conclave/internal/look"
)

// inner is a session as package inside shows it to Conclave's own packages.
type inner Session

//nolint:gochecknoinits // inside cannot be asked for them: it imports lease
func init() {
	//nolint:errcheck,forcetypeassert // inside passes nothing else
	hooks.Session = func(session any) any { return (*inner)(session.(*Session)) }
	//nolint:errcheck,forcetypeassert // as above
	hooks.Keys = func(lease any) *look.List { return lease.(*Lease).look }
}

// Roomy returns a live lease of the session that carries fewer keys than would make it
// slow, and grants another if there is none.
func (s *inner) Roomy(ctx context.Context) (*Lease, error) {
	return (*Session)(s).obtain(ctx, (*Session).roomy)
}

// Shared returns what the users of the session in this process have in common, by
// keys of their own types.
func (s *inner) Shared() *sync.Map { return &s.shared }

// Heard returns the callbacks of the observer, nil if none of them is for acquisitions.
func (s *inner) Heard() *Observer { return s.heard }

// Context returns a context that is done once the session is closed.
func (s *inner) Context() context.Context { return s.ctx }

// Caller is told when a request has no answer.
func (s *inner) Caller() *attempt.Caller { return s.cfg.caller }

// Grace is what [WithGrace] has set.
func (s *inner) Grace() time.Duration { return s.cfg.grace }

// Go runs fn in the background, with a context that ends with the session, unless
// that is closed; Close waits for it. It reports whether it does.
func (s *inner) Go(fn func(ctx context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.work.Go(func() { fn(s.ctx) })
	return true
}

// wait waits for what Go has started, or for the end of ctx.
func (s *inner) wait(ctx context.Context) error {
	s.mu.Lock()   // from here on Go starts nothing more
	s.mu.Unlock() //nolint:staticcheck // see above
	done := make(chan struct{})
	go func() { // ends with the work, which ends with the session's context
		s.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("lease: closing: %w", attempt.Ended(ctx, nil))
	}
}
