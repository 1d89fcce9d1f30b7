package election_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

func TestTwoElectionsOfOneNameAndSessionNeverHaveTwoLeads(t *testing.T) {
	t.Parallel()
	for _, opts := range [][]election.Option{nil, {election.WithEtcdLayout()}} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			session := newVirtualSession(t, s.Client(), 10*time.Second)
			inside, release := make(chan *election.Term, 10), make(chan struct{})
			result := make(chan error, 2)
			run := func(e *election.Election, value string) {
				result <- e.Run(anHour(t), value, func(_ context.Context, term *election.Term) error {
					inside <- term
					<-release
					return nil
				})
			}
			go run(electionOn(t, session, opts...), "a")
			first := <-inside
			go run(electionOn(t, session, opts...), "b")
			vtime.Advance(time.Second)
			_, err := s.Client().Delete(t.Context(), first.Key())
			require.NoError(t, err)
			<-first.Context().Done()
			vtime.Advance(time.Minute)
			require.Empty(t, inside, "the first lead has not returned")
			release <- struct{}{}
			second := <-inside
			require.Greater(t, second.Token(), first.Token())
			close(release)
			require.NoError(t, <-result)
			require.NoError(t, <-result)
		})
	}
}

func TestALeadThatHangsLeavesTheElectionToOthers(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		session := newVirtualSession(t, s.Client(), 10*time.Second)
		hanging, release, result := make(chan *election.Term, 1), make(chan struct{}), make(chan error, 1)
		go func() {
			result <- electionOn(t, session).Run(anHour(t), "hangs", func(_ context.Context, term *election.Term) error {
				hanging <- term
				<-release
				return nil
			})
		}()
		first := <-hanging
		standby := runVirtually(t, electionOn(t, session), "standby")
		vtime.Advance(time.Second)
		other := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second), "other")
		vtime.Advance(time.Second)
		requireCandidates(t, s, "hangs", "standby", "other")

		_, err := s.Client().Delete(t.Context(), first.Key())
		require.NoError(t, err)
		<-other.terms
		require.Empty(t, standby.terms)
		requireCandidates(t, s, "other")
		vtime.Advance(time.Minute)
		requireCandidates(t, s, "other")

		close(release) // both stand again, in whatever order
		vtime.Advance(time.Second)
		other.leading <- nil
		require.NoError(t, <-other.result)
		<-standby.terms
		standby.leading <- nil
		require.NoError(t, <-standby.result)
		require.NoError(t, <-result)
	})
}

// It ends a Run that stays out of the election, too.
func TestRunThatWaitsForALeadThatHangsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		session := newVirtualSession(t, s.Client(), 10*time.Second)
		hanging, release, result := make(chan *election.Term, 1), make(chan struct{}), make(chan error, 1)
		go func() {
			result <- electionOn(t, session).Run(anHour(t), "hangs", func(_ context.Context, term *election.Term) error {
				hanging <- term
				<-release
				return term.Resign(anHour(t))
			})
		}()
		first := <-hanging
		standby := runVirtually(t, electionOn(t, session), "standby")
		vtime.Advance(time.Second)
		_, err := s.Client().Delete(t.Context(), first.Key())
		require.NoError(t, err)
		vtime.Advance(time.Minute)
		requireCandidates(t, s)
		standby.cancel(nil)
		require.ErrorIs(t, <-standby.result, context.Canceled)
		close(release)
		require.NoError(t, <-result, "it has campaigned again after its loss")
	})
}

func TestATermCanBeTransferredToAnotherRunOfTheProcess(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	give, result := make(chan struct{}), make(chan error, 2)
	go func() {
		result <- p.election(t, name).Run(guarded(t), "a", func(ctx context.Context, term *election.Term) error {
			<-give
			return term.Transfer(ctx, candidates(t, p.Client, name)[1])
		})
	}()
	awaitValues(t, p.Client, name, "a")
	led := make(chan struct{})
	go func() {
		result <- p.election(t, name).Run(guarded(t), "b", func(context.Context, *election.Term) error {
			close(led)
			return nil
		})
	}()
	awaitValues(t, p.Client, name, "a", "b")
	close(give)
	await(t, led, "the one who was chosen leads")
	require.NoError(t, await(t, result, "a Run"))
	require.NoError(t, await(t, result, "the other"))
}

func TestAResignationHeedsTheDeadlineOfAContextThatEndsWithTheTerm(t *testing.T) {
	t.Parallel()
	for what, derive := range map[string]func(context.Context, *election.Term) (context.Context, context.CancelFunc){
		"of the term": func(_ context.Context, term *election.Term) (context.Context, context.CancelFunc) {
			return context.WithTimeout(term.Context(), 3*time.Second)
		},
		"of With": func(ctx context.Context, term *election.Term) (context.Context, context.CancelFunc) {
			within, cancel := term.With(ctx)
			timed, cancelTimed := context.WithTimeout(within, 3*time.Second)
			return timed, func() { cancelTimed(); cancel() }
		},
		"before With": func(ctx context.Context, term *election.Term) (context.Context, context.CancelFunc) {
			timed, cancelTimed := context.WithTimeout(ctx, 3*time.Second)
			within, cancel := term.With(timed)
			return within, func() { cancel(); cancelTimed() }
		},
	} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			client, cut := s.CutClient()
			term, err := newVirtualElection(t, client, time.Minute).Campaign(t.Context(), "a")
			require.NoError(t, err)
			cut.Cut()
			ctx, cancel := derive(t.Context(), term)
			defer cancel()
			began := time.Now()
			err = term.Resign(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded, what)
			require.Equal(t, 3*time.Second, time.Since(began), what)
			cut.Heal()
			vtime.Sleep(10 * time.Second)
			requireCandidates(t, s)
		})
	}
}

func TestArgumentsThatAreNilOrZeroAreRefused(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	var none context.Context
	_, err := election.New(nil, name)
	require.ErrorContains(t, err, "election: session is nil or zero")
	_, err = election.New(&lease.Session{}, name)
	require.ErrorContains(t, err, "election: session is nil or zero")
	e := p.election(t, name)
	require.ErrorContains(t, e.Run(guarded(t), "a", nil), "election: lead is nil")
	const nilCtx = "election: ctx is nil"
	require.ErrorContains(t, e.Run(none, "a", func(context.Context, *election.Term) error { return nil }), nilCtx)
	_, err = e.Campaign(none, "a")
	require.ErrorContains(t, err, nilCtx)
	_, err = e.Resume(none, "k", 1)
	require.ErrorContains(t, err, nilCtx)
	_, err = election.Current(none, p.Client, name)
	require.ErrorContains(t, err, nilCtx)
	_, err = election.Candidates(none, p.Client, name)
	require.ErrorContains(t, err, nilCtx)
	_, err = election.Current(guarded(t), p.Client, name, nil)
	require.ErrorContains(t, err, "election: read option is nil")
	for _, err := range election.Observe(none, p.Client, name) {
		require.ErrorContains(t, err, nilCtx)
	}
	term := p.lead(t, name, "a")
	require.ErrorContains(t, term.Proclaim(none, "b"), nilCtx)
	require.ErrorContains(t, term.Transfer(none, election.Candidate{}), nilCtx)
	require.ErrorContains(t, term.Resign(none), nilCtx)
	require.NoError(t, term.Err())
	resign(t, term)
}
