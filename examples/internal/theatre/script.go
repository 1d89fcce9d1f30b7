package theatre

import (
	"context"
	"fmt"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/screen"
)

// poll is how often it is looked whether something has happened.
const poll = 2 * time.Millisecond

// Script does one thing after another, and nothing more when something has failed. Its
// methods are called by one goroutine.
type Script struct {
	*screen.Acts

	// Patience is how long Until waits.
	Patience time.Duration
	// Failed is what has failed.
	Failed error
}

// Do does something that may fail, of which parts may be done by Do, too.
func (s *Script) Do(what func() error) {
	if s.Failed != nil {
		return
	}
	if err := what(); s.Failed == nil {
		s.Failed = err
	}
}

// Act introduces what is done next.
func (s *Script) Act(format string, args ...any) {
	s.Do(func() error { s.Begin(format, args...); return nil })
}

// Say tells what has just happened.
func (s *Script) Say(style lipgloss.Style, format string, args ...any) {
	s.Do(func() error { s.Tell(style, format, args...); return nil })
}

// Conclude says what there is to say in the end.
func (s *Script) Conclude(format string, args ...any) {
	s.Do(func() error {
		s.Printf("\n%s\n", s.Styles.Good.Render(s.Wrap(fmt.Sprintf(format, args...))))
		return nil
	})
}

// Until waits until a condition holds.
func (s *Script) Until(ctx context.Context, what string, cond func() bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.Patience, fmt.Errorf("no sign of %s within %s", what, s.Patience))
	defer cancel()
	for tick := time.Tick(poll); s.Failed == nil && !cond(); <-tick {
		s.Do(func() error { return context.Cause(ctx) }) // unless cond has failed
	}
}
