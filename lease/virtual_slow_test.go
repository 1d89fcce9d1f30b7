package lease_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/suite"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

// slowness is a way in which a server is slow.
type slowness struct {
	name   string
	client func(s *vtime.Server, roundTrip time.Duration, opts ...vtime.ClientOption) *clientv3.Client
}

// slownesses are both links slow, which is three round trips for a first request, and
// only the answers to unary requests.
var slownesses = []slowness{
	{"both links", func(s *vtime.Server, roundTrip time.Duration, opts ...vtime.ClientOption) *clientv3.Client {
		return s.SlowClient(roundTrip/2, roundTrip/2, opts...)
	}},
	{"unary answers", func(s *vtime.Server, roundTrip time.Duration, opts ...vtime.ClientOption) *clientv3.Client {
		late := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := call(ctx, method, req, reply, cc, opts...)
			select {
			case <-time.After(roundTrip):
			case <-ctx.Done():
				return ctx.Err()
			}
			return err
		}
		return s.Client(append(opts, vtime.WithDialOptions(grpc.WithChainUnaryInterceptor(late)))...)
	}},
}

// watched is how long a lease is watched at one round trip.
const watched = 5 * time.Minute

// The table in docs/operations.md is what this logs.
func TestALeaseIsKeptAtEveryRoundTripUpToThreeSeconds(t *testing.T) {
	t.Parallel()
	step := suite.Long(1000, 250)
	if testing.Verbose() { // who reads the table gets all of it
		step = 250
	}
	for _, slow := range slownesses {
		for ms := 0; ms <= 4000; ms += step {
			roundTrip := time.Duration(ms) * time.Millisecond
			t.Run(fmt.Sprint(slow.name, " ", roundTrip), func(t *testing.T) {
				t.Parallel()
				vtime.Run(t, func(t *testing.T, s *vtime.Server) {
					kept, perSecond := keepSlowly(t, s, slow, roundTrip)
					official := keepOfficially(t, s, slow, roundTrip)
					t.Logf("| %s | %.2f s | %s | %.1f | %s |", slow.name, roundTrip.Seconds(), word(kept), perSecond, word(official))
					require.LessOrEqual(t, perSecond, 3.0)
					if roundTrip <= 3*time.Second {
						require.Equal(t, watched, kept)
					}
				})
			})
		}
	}
}

// word says for how long a lease was kept.
func word(kept time.Duration) string {
	if kept >= watched {
		return "kept"
	}
	return fmt.Sprintf("lost after %.1f s", kept.Seconds())
}

// keepSlowly returns for how long a lease was kept and how many requests a second that
// took, over a TTL at least: the last seconds before a loss have more.
func keepSlowly(t *testing.T, s *vtime.Server, slow slowness, roundTrip time.Duration) (kept time.Duration, perSecond float64) {
	t.Helper()
	calls := vtime.NewDrag(1, 0)
	session, err := lease.NewSession(anHour(t), slow.client(s, roundTrip, vtime.WithDrag(calls)))
	require.NoError(t, err)
	l, err := session.Lease(t.Context())
	require.NoError(t, err)
	began, before := time.Now(), total(calls)
	select {
	case <-l.Context().Done():
	case <-time.After(watched):
	}
	kept = time.Since(began)
	perSecond = float64(total(calls)-before) / max(kept, lease.DefaultTTL).Seconds()
	require.NoError(t, session.Close(anHour(t)))
	return kept, perSecond
}

// keepOfficially returns for how long the official client's session was kept.
func keepOfficially(t *testing.T, s *vtime.Server, slow slowness, roundTrip time.Duration) time.Duration {
	t.Helper()
	session, err := concurrency.NewSession(slow.client(s, roundTrip), concurrency.WithTTL(int(lease.DefaultTTL/time.Second)))
	require.NoError(t, err)
	began := time.Now()
	select {
	case <-session.Done():
	case <-time.After(watched):
	}
	return time.Since(began)
}
