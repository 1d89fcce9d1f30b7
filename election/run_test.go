package election_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

var errLead = errors.New("lead failed")

func TestRunReturnsWhatLeadReturnsAndResigns(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	e := p.election(t, name)
	for _, want := range []error{nil, errLead} {
		var term *election.Term
		err := e.Run(guarded(t), "a", func(ctx context.Context, leading *election.Term) error {
			term = leading
			require.NoError(t, ctx.Err())
			require.Equal(t, leading.Token(), current(t, p.Client, name).Token)
			return want
		})
		require.Equal(t, want, err)
		require.ErrorIs(t, term.Err(), election.ErrResigned)
		awaitValues(t, p.Client, name)
	}
}

func TestLeadsContextDerivesFromRunsAndEndsWithTheTerm(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	type key struct{}
	err := p.election(t, name).Run(context.WithValue(guarded(t), key{}, "value"), "a", func(ctx context.Context, term *election.Term) error {
		require.Equal(t, "value", ctx.Value(key{}))
		require.NoError(t, term.Resign(ctx))
		require.ErrorIs(t, context.Cause(ctx), election.ErrResigned)
		return errLead
	})
	require.ErrorIs(t, err, errLead, "a lead that resigns is judged by what it returns")
}

func TestRunWaitsForLeadBeforeItGivesUpTheLeadership(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	ctx, cancel := context.WithCancelCause(guarded(t))
	why := errors.New("why")
	begun, release, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		result <- p.election(t, name).Run(ctx, "a", func(ctx context.Context, term *election.Term) error {
			close(begun)
			<-ctx.Done()
			<-release
			if term.Err() != nil {
				return errLead
			}
			return term.Proclaim(context.WithoutCancel(ctx), "last words")
		})
	}()
	await(t, begun, "lead")
	other, _ := newPeer(t, c).queueUp(t.Context(), t, name, "b")
	cancel(why)
	stillWaits(t, other)
	require.Empty(t, result)
	require.Equal(t, []string{"a", "b"}, values(t, p.Client, name))
	close(release)
	err := await(t, result, "Run returns")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, why)
	require.NotErrorIs(t, err, errLead)
	resign(t, elected(t, other))
}

// lead's context ends with the term, so before the request for its end is sent.
func TestLeadCanTransferItsTermWithItsOwnContext(t *testing.T) {
	t.Parallel()
	k := newContest(t, etcdtest.New(t), 2)
	resign(t, k.term)
	resign(t, elected(t, k.done[0]))
	first := elected(t, k.done[1])
	e := k.leader.election(t, k.name)
	result := make(chan error, 1)
	go func() {
		result <- e.Run(guarded(t), "b", func(ctx context.Context, term *election.Term) error {
			all, err := election.Candidates(ctx, k.leader.Client, k.name)
			if err != nil || len(all) != 3 {
				return errors.Join(errLead, err)
			}
			return term.Transfer(ctx, all[2])
		})
	}()
	awaitValues(t, k.leader.Client, k.name, "c", "b")
	skipped, _ := k.peers[0].queueUp(t.Context(), t, k.name, "d")
	chosen, _ := k.peers[1].queueUp(t.Context(), t, k.name, "e")
	resign(t, first)
	require.NoError(t, await(t, result, "Run returns"))
	resign(t, elected(t, chosen))
	resign(t, elected(t, skipped))
}

func TestLeadsResignationHeedsTheContextOfRun(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client, cut := s.CutClient()
		e := electionOn(t, newVirtualSession(t, client, 20*time.Second, lease.WithGrace(0)))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		err := e.Run(ctx, "a", func(ctx context.Context, term *election.Term) error {
			cut.Cut()
			err := term.Resign(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, "election: resigning: ")
			return err
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(began))
		cut.Heal()
		vtime.Sleep(10 * time.Second)
		requireCandidates(t, s)
	})
}

func TestRunReportsLeadsErrorBesidesTheContexts(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	ctx, cancel := context.WithCancel(guarded(t))
	err := p.election(t, name, election.WithRetry(time.Second, time.Second)).Run(ctx, "a", func(context.Context, *election.Term) error {
		cancel()
		return errLead
	})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errLead)
}

func TestRunResignsWhenLeadPanics(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	e := p.election(t, name, election.WithHealthCheck(time.Hour, time.Second, func(context.Context) error { return nil }))
	require.PanicsWithValue(t, "at the helm", func() {
		_ = e.Run(guarded(t), "a", func(context.Context, *election.Term) error { panic("at the helm") })
	})
	awaitValues(t, p.Client, name)
	require.NoError(t, e.Run(guarded(t), "a", func(context.Context, *election.Term) error { return nil }), "and can lead again")
}

func TestRunCampaignsAgainAfterALossWhateverLeadReturned(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	operator := c.Client(t)
	for i, returned := range []error{nil, errLead} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			name, p := c.Prefix(t)+"e", newPeer(t, c, withTTL(unhurried))
			var terms []*election.Term
			require.NoError(t, p.election(t, name).Run(guarded(t), "a", func(ctx context.Context, term *election.Term) error {
				terms = append(terms, term)
				switch len(terms) {
				case 1: // noticed by a look
					remove(t, operator, term.Key())
				case 2: // noticed by the renewal, or by the look beside it
					revoke(t, operator, p.LeaseID(t))
				case 3: // noticed by the resignation
					remove(t, operator, term.Key())
					return nil
				default:
					return nil
				}
				<-ctx.Done()
				require.ErrorIs(t, context.Cause(ctx), election.ErrLost)
				if len(terms) != 2 {
					require.NotErrorIs(t, context.Cause(ctx), lease.ErrLost)
				}
				return returned
			}))
			require.Len(t, terms, 4)
			require.True(t, slices.IsSortedFunc(terms, func(a, b *election.Term) int { return int(a.Token() - b.Token()) }))
		})
	}
}

func TestRunDoesNotCampaignWhileALeadThatLostItsTermGoesOn(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c, withTTL(unhurried))
	inside, release := make(chan *election.Term, 10), make(chan struct{})
	result := make(chan error, 1)
	go func() {
		result <- p.election(t, name).Run(guarded(t), "a", func(_ context.Context, term *election.Term) error {
			inside <- term
			<-release
			return nil
		})
	}()
	term := await(t, inside, "lead")
	remove(t, c.Client(t), term.Key())
	lost(t, term)
	// Whoever comes now is elected before it.
	other := newPeer(t, c).lead(t, name, "b")
	require.Equal(t, []string{"b"}, values(t, p.Client, name))
	require.Empty(t, inside)
	close(release)
	awaitValues(t, p.Client, name, "b", "a")
	resign(t, other)
	require.NoError(t, await(t, result, "Run returns"))
	require.Len(t, inside, 1)
}

// Two calls of Run on one Election, of which one has lost its term and its lead does not
// return.
func TestTwoRunsOfAnElectionNeverHaveTwoLeads(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c, withTTL(20*time.Second))
	e := p.election(t, name)
	inside, release := make(chan *election.Term, 10), make(chan struct{})
	result := make(chan error, 2)
	run := func(value string) {
		result <- e.Run(guarded(t), value, func(_ context.Context, term *election.Term) error {
			inside <- term
			<-release
			return nil
		})
	}
	go run("a")
	first := await(t, inside, "the first lead")
	go run("b")
	awaitValues(t, p.Client, name, "a", "b")
	remove(t, c.Client(t), first.Key())
	lost(t, first)
	awaitValues(t, p.Client, name, "b")
	require.Empty(t, inside, "elected, but the first lead has not returned")
	release <- struct{}{}
	second := await(t, inside, "the second lead")
	require.Greater(t, second.Token(), first.Token())
	awaitValues(t, p.Client, name, "b", "a")
	close(release)
	require.NoError(t, await(t, result, "a Run"))
	require.NoError(t, await(t, result, "the other"))
}

func TestRunWaitsForItsResignationForTheSessionsGraceOnly(t *testing.T) {
	t.Parallel()
	for grace, opts := range map[time.Duration][]lease.Option{
		0: {lease.WithGrace(0)}, 5 * time.Second: {lease.WithGrace(5 * time.Second)}, lease.DefaultGrace: nil,
	} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			client, cut := s.CutClient()
			r := runVirtually(t, electionOn(t, newVirtualSession(t, client, 20*time.Second, opts...)), "a")
			<-r.terms
			cut.Cut()
			time.AfterFunc(8*time.Second, cut.Heal)
			began := time.Now()
			r.cancel(nil)
			require.ErrorIs(t, <-r.result, context.Canceled)
			require.Equal(t, grace, time.Since(began))
			requireCandidates(t, s, "a")
			vtime.Sleep(10 * time.Second) // less than the lease has left
			requireCandidates(t, s)
		})
	}
}

// The grace is for the request: lead has all the time it takes.
func TestTheGraceDoesNotBoundLead(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		e := newVirtualElection(t, s.Client(), 10*time.Second)
		ctx, cancel := context.WithCancel(anHour(t))
		began := time.Now()
		err := e.Run(ctx, "a", func(ctx context.Context, term *election.Term) error {
			cancel()
			vtime.Sleep(time.Minute)
			require.ErrorIs(t, ctx.Err(), context.Canceled)
			requireCandidates(t, s, "a")
			return term.Err()
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, time.Minute, time.Since(began))
		requireCandidates(t, s)
	})
}

func TestRetryStepsDownAndComesBackAfterAPauseThatGrows(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		const first, most = time.Second, 8 * time.Second
		r := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second, election.WithRetry(first, most)), "a")
		fail := func(pause time.Duration) {
			t.Helper()
			r.leading <- errLead
			failed := time.Now()
			synctest.Wait()
			requireCandidates(t, s)
			<-r.terms
			require.InDelta(t, pause, time.Since(failed), float64(pause)/4, "give or take a quarter")
		}
		<-r.terms
		for _, pause := range []time.Duration{first, 2 * first, 4 * first, most, most} {
			fail(pause)
		}
		vtime.Sleep(most + 1) // a good while
		fail(first)
		fail(2 * first)
		r.leading <- nil
		require.NoError(t, <-r.result)
	})
}

func TestRetryPausesDiffer(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		pauses := make(map[time.Duration]bool)
		r := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second, election.WithRetry(time.Second, time.Second)), "a")
		<-r.terms
		for range 5 {
			r.leading <- errLead
			failed := time.Now()
			<-r.terms
			pauses[time.Since(failed)] = true
		}
		require.Greater(t, len(pauses), 1)
		r.leading <- nil
		require.NoError(t, <-r.result)
	})
}

// pausing are options with which Run pauses for long after its first term.
func pausing() map[string]election.Option {
	calls := 0
	return map[string]election.Option{
		"retry":     election.WithRetry(time.Minute, time.Minute),
		"max terms": election.WithMaxTerms(1, time.Hour),
		"health": election.WithHealthCheck(time.Minute, time.Second, func(context.Context) error {
			if calls++; calls == 1 {
				return nil
			}
			return errLead
		}),
	}
}

func TestRunLeavesAPauseAtOnceWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	for what, opt := range pausing() {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			r := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second, election.WithRetry(time.Second, time.Second), opt), "a")
			<-r.terms
			r.leading <- errLead
			vtime.Advance(10 * time.Second)
			requireCandidates(t, s)
			why := errors.New("why")
			began := time.Now()
			r.cancel(why)
			err := <-r.result
			require.ErrorIs(t, err, context.Canceled, what)
			require.ErrorIs(t, err, why, what)
			require.Equal(t, began, time.Now(), what)
		})
	}
}

func TestRunLeavesAPauseAtOnceWhenItsSessionOrClientIsClosed(t *testing.T) {
	t.Parallel()
	for _, closes := range []func(*lease.Session, *clientv3.Client) error{
		func(session *lease.Session, _ *clientv3.Client) error { return session.Close(context.Background()) },
		func(_ *lease.Session, client *clientv3.Client) error { return client.Close() },
	} {
		for what, opt := range pausing() {
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				client := s.Client()
				session := newVirtualSession(t, client, 10*time.Second)
				r := runVirtually(t, electionOn(t, session, election.WithRetry(time.Second, time.Second), opt), "a")
				<-r.terms
				r.leading <- errLead
				vtime.Advance(10 * time.Second)
				began := time.Now()
				require.NoError(t, closes(session, client))
				err := <-r.result
				require.Error(t, err, what)
				require.NotErrorIs(t, err, errLead, what)
				require.Less(t, time.Since(began), 30*time.Second, what)
			})
		}
	}
}

func TestAFlappingCandidateStaysOutWhenItHasHadItsTerms(t *testing.T) {
	t.Parallel()
	const terms, per = 3, time.Minute
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		flapping := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second,
			election.WithRetry(time.Second, time.Second), election.WithMaxTerms(terms, per)), "flapping")
		var won []time.Time
		for range 4 * terms {
			<-flapping.terms
			won = append(won, time.Now())
			if len(won) > terms {
				require.GreaterOrEqual(t, won[len(won)-1].Sub(won[len(won)-1-terms]), per)
			}
			flapping.leading <- errLead
		}
		require.Less(t, won[terms-1].Sub(won[0]), 10*time.Second)
		require.Less(t, won[terms].Sub(won[0]), per+time.Second, "it is back as soon as it may be")

		// Out of the election means that others are not in its way, nor it in theirs.
		vtime.Advance(10 * time.Second)
		requireCandidates(t, s)
		steady := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second), "steady")
		<-steady.terms
		vtime.Advance(2 * per)
		requireCandidates(t, s, "steady", "flapping")
		steady.leading <- nil
		require.NoError(t, <-steady.result)
		<-flapping.terms
		flapping.cancel(nil)
		require.ErrorIs(t, <-flapping.result, context.Canceled)
	})
}

func TestLostTermsCountAgainstTheLimit(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		r := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second, election.WithMaxTerms(2, time.Hour)), "a")
		operator := s.Client()
		for range 2 {
			term := <-r.terms
			_, err := operator.Delete(t.Context(), term.Key())
			require.NoError(t, err)
			require.ErrorIs(t, <-r.ended, election.ErrLost)
		}
		vtime.Advance(50 * time.Minute)
		require.Empty(t, r.terms)
		requireCandidates(t, s)
		r.cancel(nil)
		require.ErrorIs(t, <-r.result, context.Canceled)
	})
}
