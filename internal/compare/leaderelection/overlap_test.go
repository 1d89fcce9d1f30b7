//go:build !race

package leaderelection_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/compare/leaderelection"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/lease"
)

const (
	// guard is how long a test waits for what must happen; only a failure takes that long.
	guard = 5 * time.Minute
	poll  = 5 * time.Millisecond
	// ttl is that of Conclave's candidates: a busy machine renews in it.
	ttl = 6 * time.Second
)

// client-go calls the leader function in a goroutine that nobody waits for, and gives the
// lease up, or campaigns again, while it runs. Its documentation leaves it to the caller
// that the function has ended before; programs that end their process in OnStoppedLeading
// are safe from the second case.

func TestClientGoElectsTheNextWhileTheReleasedLeadersFunctionRuns(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	first, second := newSlow(t), newSlow(t)
	stop := newCandidate(t, c.Client(t), "e", "first", first.lead).Start(t.Context())
	await(t, first.started, "the first leads")
	stopSecond := newCandidate(t, c.Client(t), "e", "second", second.lead).Start(t.Context())
	defer stopSecond()

	stop()
	await(t, second.started, "the second leads")
	require.True(t, first.running(), "and so does the first, which has not returned")
	first.finish()
	second.finish()
}

func TestClientGoCallsTheLeaderFunctionAgainWhileItRuns(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client, net := c.ProxiedClient(t)
	both := []*slow{newSlow(t), newSlow(t)}
	var calls atomic.Int32
	e := newCandidate(t, client, "e", "the only candidate", func(ctx context.Context) {
		both[calls.Add(1)-1].lead(ctx)
	})
	stop := e.Start(t.Context())
	await(t, both[0].started, "it leads")
	net.Cut()
	await(t, both[0].ended, "the term is lost")
	net.Heal()
	stop() // Run has returned by itself, or is about to

	stopAgain := e.Start(t.Context())
	defer stopAgain()
	await(t, both[1].started, "it leads again")
	require.True(t, both[0].running(), "and the first call has not returned")
	both[0].finish()
	both[1].finish()
}

// When renewals fail, client-go tries to release the lease, for as long as the renew
// deadline, before it ends the leader's context. With the recommended timings that is up
// to 22 s after the last renewal, and another candidate leads after 15 s. Without
// ReleaseOnCancel it is 12 s.
func TestClientGoTellsALeaderThatIsCutOffAfterTheNextWasElected(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	var overlaps atomic.Int32
	partitions(func(name string) {
		client, net := c.ProxiedClient(t)
		first, second := newSlow(t), newSlow(t)
		stopFirst := newCandidate(t, client, name, "first", first.lead).Start(t.Context())
		defer stopFirst()
		await(t, first.started, "the first leads")
		e := newCandidate(t, c.Client(t), name, "second", second.lead)
		stopSecond := e.Start(t.Context())
		defer stopSecond()
		require.Equal(t, "first", await(t, e.Leaders(), "the second has seen the first"))

		net.Cut()
		await(t, second.started, "the second leads")
		select {
		case <-first.ended:
		default:
			overlaps.Add(1)
		}
		await(t, first.ended, "the first is told")
		net.Heal()
	})
	t.Logf("two leaders in %d of %d partitions", overlaps.Load(), inParallel)
	require.NotZero(t, overlaps.Load())
}

func TestTermOfALeaderThatIsCutOffIsOverWhenTheNextIsElected(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	partitions(func(name string) {
		client, net := c.ProxiedClient(t)
		first, err := newElection(t, client, name).Campaign(guarded(t), "first")
		require.NoError(t, err)
		elected := make(chan error, 1)
		go func() {
			_, err := newElection(t, c.Client(t), name).Campaign(guarded(t), "second")
			elected <- errors.Join(err, notOver(first))
		}()
		require.Eventually(t, func() bool {
			all, err := election.Candidates(t.Context(), c.Client(t), name)
			return err == nil && len(all) == 2
		}, guard, poll, "the second waits")
		net.Cut()
		require.NoError(t, await(t, elected, "the second is elected"))
		net.Heal()
	})
}

func notOver(t *election.Term) error {
	if t.Err() == nil {
		return fmt.Errorf("this term goes on for %v", t.Remaining())
	}
	return nil
}

const inParallel = 6

// partitions runs the test several times at once.
func partitions(test func(name string)) {
	var wg sync.WaitGroup
	for i := range inParallel {
		wg.Go(func() { test(fmt.Sprintf("partition-%d", i)) })
	}
	wg.Wait()
}

func TestRunElectsTheNextAfterTheLeadersFunctionHasReturned(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	first, second := newSlow(t), newSlow(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran := runElection(ctx, newElection(t, c.Client(t), "e"), first.leadTerm)
	term := await(t, first.terms, "the first leads")
	ctx2, cancel2 := context.WithCancel(t.Context())
	defer cancel2()
	ran2 := runElection(ctx2, newElection(t, c.Client(t), "e"), second.leadTerm)
	require.Eventually(t, func() bool {
		all, err := election.Candidates(t.Context(), c.Client(t), "e")
		return err == nil && len(all) == 2
	}, guard, poll, "the second waits")

	cancel()
	await(t, first.ended, "the first is told")
	deadline := term.Deadline()
	require.Eventually(t, func() bool { return term.Deadline().After(deadline.Add(ttl)) }, guard, poll,
		"its lease is renewed for longer than a TTL")
	require.True(t, first.running())
	leader, err := election.Current(t.Context(), c.Client(t), "e")
	require.NoError(t, err)
	require.Equal(t, term.Key(), leader.Key, "the first leads until its function returns")
	select {
	case <-second.terms:
		require.Fail(t, "two leader functions at once")
	default:
	}

	first.finish()
	require.ErrorIs(t, await(t, ran, "Run returns"), context.Canceled)
	await(t, second.terms, "the second leads")
	cancel2()
	second.finish()
	require.ErrorIs(t, await(t, ran2, "Run returns"), context.Canceled)
}

func TestRunCallsTheLeaderFunctionAgainAfterItHasReturned(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t, etcdtest.WithControl())
	client, net := c.ProxiedClient(t)
	e := newElection(t, client, "e")
	both := []*slow{newSlow(t), newSlow(t)}
	calls := 0 // by one goroutine
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran := runElection(ctx, e, func(ctx context.Context, term *election.Term) error {
		calls++
		return both[calls-1].leadTerm(ctx, term)
	})
	term := await(t, both[0].terms, "it leads")
	net.Cut()
	await(t, both[0].ended, "the term is lost")
	require.ErrorIs(t, term.Err(), election.ErrLost)
	net.Heal()
	// Another candidate may come and go: the slow function stands in nobody's way but its own.
	other, err := newElection(t, c.Client(t), "e").Campaign(guarded(t), "another")
	require.NoError(t, err)
	require.NoError(t, other.Resign(guarded(t)))
	require.True(t, both[0].running())
	all, err := election.Candidates(guarded(t), c.Client(t), "e")
	require.NoError(t, err)
	require.Empty(t, all, "it does not stand for election again yet")

	both[0].finish()
	await(t, both[1].terms, "it leads again")
	cancel()
	both[1].finish()
	require.ErrorIs(t, await(t, ran, "Run returns"), context.Canceled)
}

func newCandidate(tb testing.TB, etcd *clientv3.Client, name, identity string, lead func(context.Context)) *leaderelection.Candidate {
	tb.Helper()
	c, err := leaderelection.NewCandidate(etcd, name, identity, lead)
	require.NoError(tb, err)
	return c
}

// slow is a leader function that does not return when its context ends, but when the test
// says so: it has to finish what it began.
type slow struct {
	started, ended, finished, returned chan struct{}
	terms                              chan *election.Term
	finish                             func()
}

func newSlow(t *testing.T) *slow {
	t.Helper()
	s := &slow{
		started: make(chan struct{}), ended: make(chan struct{}),
		finished: make(chan struct{}), returned: make(chan struct{}),
		terms: make(chan *election.Term, 1),
	}
	s.finish = sync.OnceFunc(func() { close(s.finished) })
	t.Cleanup(func() { // client-go does not wait for it
		s.finish()
		select {
		case <-s.started:
			<-s.returned
		default:
		}
	})
	return s
}

func (s *slow) lead(ctx context.Context) {
	defer close(s.returned)
	close(s.started)
	<-ctx.Done()
	close(s.ended)
	<-s.finished
}

func (s *slow) leadTerm(ctx context.Context, t *election.Term) error {
	s.terms <- t
	s.lead(ctx)
	return ctx.Err()
}

func (s *slow) running() bool {
	select {
	case <-s.returned:
		return false
	default:
		return true
	}
}

func newElection(tb testing.TB, client *clientv3.Client, name string) *election.Election {
	tb.Helper()
	s, err := lease.NewSession(tb.Context(), client, lease.WithTTL(ttl))
	require.NoError(tb, err)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), guard)
		defer cancel()
		require.NoError(tb, s.Close(ctx))
	})
	e, err := election.New(s, name)
	require.NoError(tb, err)
	return e
}

// runElection calls Run and returns where its error will be.
func runElection(ctx context.Context, e *election.Election, lead func(context.Context, *election.Term) error) <-chan error {
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx, "", lead) }()
	return ran
}

func guarded(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeoutCause(tb.Context(), guard, errors.New("never happened"))
	tb.Cleanup(cancel)
	return ctx
}

func await[T any](tb testing.TB, ch <-chan T, what string) T {
	tb.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(guard):
		require.FailNow(tb, "never happened", what)
		panic("unreachable")
	}
}
