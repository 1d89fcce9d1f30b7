package election_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// hearing is what an observer is told of one process's candidates.
type hearing struct {
	mu  sync.Mutex
	all []string
}

func (s *hearing) observer() lease.Observer {
	note := func(what string) func(lease.Event) {
		return func(e lease.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.all = append(s.all, strings.TrimSpace(what+" "+e.Reason.String()))
			if e.Kind != "election" || e.Name != "e" {
				s.all = append(s.all, "of "+e.Kind+" "+e.Name)
			}
		}
	}
	begin := func(what string) func(context.Context, lease.Event) context.Context {
		return func(ctx context.Context, e lease.Event) context.Context {
			note(what)(e)
			return ctx
		}
	}
	return lease.Observer{
		Acquiring: begin("acquiring"), Waiting: note("waiting"), Waited: note("waited"), Granted: note("granted"),
		Failed: note("failed"), Released: note("released"), Releasing: begin("releasing"), Removed: note("removed"),
	}
}

func (s *hearing) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.all
	s.all = nil
	return all
}

func TestCandidatesAndLeadersAreToldOf(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var told hearing
		client := s.Client()
		session, err := lease.NewSession(t.Context(), client, lease.WithTTL(9*time.Second), lease.WithObserver(told.observer()))
		require.NoError(t, err)
		e, err := election.New(session, "e")
		require.NoError(t, err)
		term, err := e.Campaign(t.Context(), "a")
		require.NoError(t, err)
		require.Equal(t, []string{"acquiring", "granted"}, told.take())

		next := make(chan *election.Term)
		go func() {
			term, err := e.Campaign(t.Context(), "b")
			if err != nil {
				t.Error(err)
			}
			next <- term
		}()
		vtime.Advance(time.Second)
		require.Equal(t, []string{"acquiring", "waiting"}, told.take())
		all, err := election.Candidates(t.Context(), client, "e")
		require.NoError(t, err)
		require.NoError(t, term.Transfer(t.Context(), all[1]))
		term = <-next
		require.ElementsMatch(t, []string{"released", "releasing", "removed", "waited", "granted"}, told.take())
		require.NoError(t, term.Resign(t.Context()))
		require.Equal(t, []string{"released", "releasing", "removed"}, told.take())

		require.NoError(t, e.Run(t.Context(), "c", func(context.Context, *election.Term) error { return nil }))
		require.Equal(t, []string{"acquiring", "granted", "released", "releasing", "removed"}, told.take())
		require.NoError(t, session.Close(t.Context()))
	})
}
