package election_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/conclave-go/conclave/election"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// virtualName is the election that all tests in virtual time use.
const virtualName = "e"

// anHour is a context that ends a test that would wait for ever, and spin in virtual time.
func anHour(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(cancel)
	return ctx
}

// newVirtualElection returns the election of virtualName for a session of its own.
func newVirtualElection(t *testing.T, client *clientv3.Client, ttl time.Duration, opts ...election.Option) *election.Election {
	t.Helper()
	return electionOn(t, newVirtualSession(t, client, ttl), opts...)
}

// electionOn returns the election of virtualName for a session.
func electionOn(t *testing.T, session *lease.Session, opts ...election.Option) *election.Election {
	t.Helper()
	e, err := election.New(session, virtualName, opts...)
	require.NoError(t, err)
	return e
}

func newVirtualSession(t *testing.T, client *clientv3.Client, ttl time.Duration, opts ...lease.Option) *lease.Session {
	t.Helper()
	session, err := lease.NewSession(t.Context(), client, append(opts, lease.WithTTL(ttl))...)
	require.NoError(t, err)
	t.Cleanup(func() {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		_ = session.Close(done) // a session that is cut off would take its TTL; Run closes the client
	})
	return session
}

// running is a call of Run in the background, in virtual time.
type running struct {
	began   time.Time
	terms   chan *election.Term // each that lead was called with
	result  chan error
	cancel  context.CancelCauseFunc
	leading chan error // what lead shall return
	ended   chan error // the cause with which a lead's context has ended
}

// runVirtually calls Run with a lead that returns what is sent on leading, or nil when
// its context ends.
func runVirtually(t *testing.T, e *election.Election, value string) *running {
	t.Helper()
	r := &running{
		began: time.Now(), terms: make(chan *election.Term, 1000), result: make(chan error, 1),
		leading: make(chan error), ended: make(chan error, 1000),
	}
	ctx, cancel := context.WithCancelCause(anHour(t))
	r.cancel = cancel
	go func() {
		r.result <- e.Run(ctx, value, func(ctx context.Context, term *election.Term) error {
			r.terms <- term
			select {
			case err := <-r.leading:
				return err
			case <-ctx.Done():
				r.ended <- context.Cause(ctx)
				return nil
			}
		})
	}()
	return r
}

// requireCandidates requires that those who stand for election, as a client that is not
// cut off sees it, are these.
func requireCandidates(t *testing.T, s *vtime.Server, want ...string) {
	t.Helper()
	client := s.Client()
	all, err := election.Candidates(t.Context(), client, virtualName)
	require.NoError(t, err)
	require.NoError(t, client.Close())
	var got []string
	for _, c := range all {
		got = append(got, c.Value)
	}
	require.Equal(t, want, got)
}

// mostDrag is the most that one message takes in a dragging network.
const mostDrag = 50 * time.Millisecond
