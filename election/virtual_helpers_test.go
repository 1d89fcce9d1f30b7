package election_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

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
	session, err := lease.NewSession(t.Context(), client, lease.WithTTL(ttl))
	require.NoError(t, err)
	t.Cleanup(func() {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		_ = session.Close(done) // a session that is cut off would take its TTL; Run closes the client
	})
	e, err := election.New(session, virtualName, opts...)
	require.NoError(t, err)
	return e
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

// drag lets every message of a client take a random time on its way, as networks do; without it loops that wait for
// round numbers of milliseconds stay in step with the server's for ever.
type drag struct {
	mu   sync.Mutex
	draw *rand.Rand
	most time.Duration // for one message
}

// dragging returns the options for a client whose messages take up to most.
func dragging(seed uint64, most time.Duration) []vtime.ClientOption {
	d := &drag{draw: rand.New(rand.NewPCG(seed, 3)), most: most}
	return []vtime.ClientOption{vtime.WithDialOptions(grpc.WithChainUnaryInterceptor(d.unary), grpc.WithChainStreamInterceptor(d.stream))}
}

// pass lets a message take its time.
func (d *drag) pass(ctx context.Context) error {
	d.mu.Lock()
	takes := time.Duration(d.draw.Int64N(int64(d.most) + 1))
	d.mu.Unlock()
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

func (d *drag) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if err := d.pass(ctx); err != nil {
		return err
	}
	if err := call(ctx, method, req, reply, cc, opts...); err != nil {
		return err
	}
	return d.pass(ctx)
}

func (d *drag) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, cc, method, opts...)
	return draggedStream{stream, d}, err
}

type draggedStream struct {
	grpc.ClientStream
	*drag
}

func (s draggedStream) SendMsg(m any) error {
	if err := s.pass(s.Context()); err != nil {
		return err
	}
	return s.ClientStream.SendMsg(m)
}

func (s draggedStream) RecvMsg(m any) error {
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	return s.pass(s.Context())
}
