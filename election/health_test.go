package election_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/vtime"
)

var errSick = errors.New("sick")

// patient is a health check whose outcome a test sets.
type patient struct {
	mu    sync.Mutex
	err   error
	hang  chan struct{} // while it is open, calls do not return
	heed  bool          // they do when their context ends
	calls int
	at    []time.Time
}

func (p *patient) check(ctx context.Context) error {
	p.mu.Lock()
	p.calls++
	p.at = append(p.at, time.Now())
	err, hang, heed := p.err, p.hang, p.heed
	p.mu.Unlock()
	if hang == nil {
		return err
	}
	if !heed {
		<-hang
		return err
	}
	select {
	case <-hang:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *patient) set(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// hangs makes calls hang from now on, until the function returned is called.
func (p *patient) hangs(heed bool) (stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hang, p.heed = make(chan struct{}), heed
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		close(p.hang)
		p.hang = nil
	}
}

func (p *patient) called() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

const (
	checkPeriod  = 5 * time.Second
	checkTimeout = 2 * time.Second
)

func (p *patient) option() election.Option {
	return election.WithHealthCheck(checkPeriod, checkTimeout, p.check)
}

func TestALeaderWhoseHealthCheckFailsStepsDownUntilItSucceeds(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var p patient
		r := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second, p.option()), "a")
		<-r.terms
		vtime.Advance(10*checkPeriod + 1)
		require.Equal(t, 11, p.called(), "before the campaign, and each period")
		other := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second), "b")
		synctest.Wait()

		p.set(errSick)
		cause := <-r.ended
		require.ErrorIs(t, cause, election.ErrUnhealthy)
		require.ErrorIs(t, cause, errSick)
		<-other.terms
		requireCandidates(t, s, "b")
		other.leading <- nil
		require.NoError(t, <-other.result)
		vtime.Advance(10 * checkPeriod)
		requireCandidates(t, s)
		require.Empty(t, r.terms, "it stands for election only while it is healthy")

		p.set(nil)
		began := time.Now()
		<-r.terms
		require.LessOrEqual(t, time.Since(began), checkPeriod)
		r.leading <- nil
		require.NoError(t, <-r.result)
	})
}

func TestAnUnhealthyLeaderResignsOnlyWhenLeadHasReturned(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var p patient
		e := newVirtualElection(t, s.Client(), 10*time.Second, p.option())
		var terms []*election.Term
		require.NoError(t, e.Run(anHour(t), "a", func(ctx context.Context, term *election.Term) error {
			if terms = append(terms, term); len(terms) == 2 {
				return nil
			}
			p.set(errSick)
			<-ctx.Done()
			vtime.Sleep(time.Minute)
			require.NoError(t, term.Err(), "the term is as good as ever")
			requireCandidates(t, s, "a")
			p.set(nil)
			return errLead // does not matter
		}))
		require.ErrorIs(t, terms[0].Err(), election.ErrResigned)
	})
}

func TestAnUnhealthyCandidateLeavesTheQueue(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var p patient
		leader := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second), "a")
		<-leader.terms
		r := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second, p.option()), "b")
		synctest.Wait()
		third := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second), "c")
		synctest.Wait()
		requireCandidates(t, s, "a", "b", "c")
		p.set(errSick)
		vtime.Advance(checkPeriod)
		requireCandidates(t, s, "a", "c")
		vtime.Advance(3 * checkPeriod)
		requireCandidates(t, s, "a", "c")
		p.set(nil)
		vtime.Advance(checkPeriod)
		requireCandidates(t, s, "a", "c", "b")
		for _, other := range []*running{leader, third} {
			other.leading <- nil
			require.NoError(t, <-other.result)
		}
		<-r.terms
		r.leading <- nil
		require.NoError(t, <-r.result)
	})
}

func TestACandidateThatIsUnhealthyFromTheStartDoesNotCampaign(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		p := patient{err: errSick}
		r := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second, p.option()), "a")
		vtime.Advance(10*checkPeriod + 1)
		require.Equal(t, int64(1), s.Etcd().KV().Rev(), "nothing was ever written")
		require.Equal(t, 11, p.called())
		p.set(nil)
		<-r.terms
		r.cancel(nil)
		require.ErrorIs(t, <-r.result, context.Canceled)
	})
}

func TestACheckThatHangsHasFailedAfterItsTimeout(t *testing.T) {
	t.Parallel()
	for _, heeds := range []bool{false, true} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			var p patient
			r := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second, p.option()), "a")
			<-r.terms
			stop := p.hangs(heeds)
			began := time.Now()
			require.ErrorIs(t, <-r.ended, election.ErrUnhealthy)
			require.Equal(t, checkPeriod+checkTimeout, time.Since(began))
			vtime.Advance(10 * checkPeriod)
			requireCandidates(t, s)
			if !heeds {
				require.Equal(t, 2, p.called(), "never two calls at once")
			}
			stop()
			<-r.terms
			r.leading <- nil
			require.NoError(t, <-r.result)
		})
	}
}

func TestACheckThatTheEndOfATermCutsShortHasNotFailed(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var p patient
		r := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second, p.option()), "a")
		term := <-r.terms
		stop := p.hangs(true)
		vtime.Advance(checkPeriod + 1)
		require.Equal(t, 2, p.called(), "one is under way")

		_, err := s.Client().Delete(t.Context(), term.Key())
		require.NoError(t, err)
		require.ErrorIs(t, <-r.ended, election.ErrLost)
		stop()
		began := time.Now()
		<-r.terms
		require.Less(t, time.Since(began), checkPeriod/2)
		r.leading <- nil
		require.NoError(t, <-r.result)
	})
}

func TestRunIsNotHeldUpByACheckThatHangsForLongerThanItsTimeout(t *testing.T) {
	t.Parallel()
	for heeds, most := range map[bool]time.Duration{false: checkTimeout, true: 0} {
		vtime.Run(t, func(t *testing.T, s *vtime.Server) {
			var p patient
			r := runVirtually(t, newVirtualElection(t, s.Client(), 10*time.Second, p.option()), "a")
			<-r.terms
			stop := p.hangs(heeds)
			vtime.Sleep(checkPeriod + checkTimeout/2)
			began := time.Now()
			r.cancel(nil)
			require.ErrorIs(t, <-r.result, context.Canceled)
			require.Equal(t, most, time.Since(began))
			requireCandidates(t, s)
			stop()
		})
	}
}

func TestCampaignIsRefusedWithAHealthCheck(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	name, p := c.Prefix(t)+"e", newPeer(t, c)
	var calls atomic.Int64
	e := p.election(t, name, election.WithHealthCheck(time.Second, time.Second, func(context.Context) error {
		calls.Add(1)
		return nil
	}))
	_, err := e.Campaign(guarded(t), "a")
	require.ErrorContains(t, err, "election: campaigning with a health check: only Run uses it")
	require.Empty(t, values(t, p.Client, name))
	require.Zero(t, calls.Load())
}
