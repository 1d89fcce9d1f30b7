package lease_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/etcdtest"
	"github.com/conclave-go/conclave/internal/inside"
	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/lease"
)

const opened = "LeaseKeepAlive (opened)"

func TestAllLeasesOfAClientShareAStreamOfRenewals(t *testing.T) {
	t.Parallel()
	const limit, sessions = 20, 24
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		calls := vtime.NewDrag(1, mostDrag)
		client := s.Client(vtime.WithDrag(calls))
		var leases []*lease.Lease
		for i := range sessions {
			session, err := lease.NewSession(anHour(t), client)
			require.NoError(t, err)
			defer func() { require.NoError(t, session.Close(t.Context())) }()
			_, err = lease.Register(anHour(t), session, fmt.Sprint("key ", i), "")
			require.NoError(t, err)
			l, err := session.Lease(t.Context())
			require.NoError(t, err)
			leases = append(leases, l)
		}
		vtime.Advance(time.Minute)
		for _, l := range leases {
			require.NoError(t, l.Err())
		}
		_, err := client.Get(anHour(t), "key 1")
		require.NoError(t, err, "there is room for the program's own requests")
		require.Equal(t, 1, calls.Counted()[opened])
	}, vtime.WithServerOptions(grpc.MaxConcurrentStreams(limit)))
}

func TestASessionOfManyLocksNeedsOneStreamOfRenewals(t *testing.T) {
	t.Parallel()
	const limit, locks = 20, 24 * perLease
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		calls := vtime.NewDrag(1, 0) // it would delay the messages of a stream one after the other
		session, err := lease.NewSession(anHour(t), s.Client(vtime.WithDrag(calls)))
		require.NoError(t, err)
		seen := make(map[*lease.Lease]bool)
		for i := range locks {
			l, err := inside.Of(session).Roomy(t.Context())
			require.NoError(t, err)
			inside.Keys(l).Reserve(func(n int) string { return fmt.Sprint(i, n) })
			seen[l] = true
		}
		vtime.Advance(time.Minute)
		require.Len(t, seen, (locks+perLease-1)/perLease)
		for l := range seen {
			require.NoError(t, l.Err())
		}
		require.Equal(t, 1, calls.Counted()[opened])
		require.NoError(t, session.Close(t.Context()))
	}, vtime.WithServerOptions(grpc.MaxConcurrentStreams(limit)))
}

func TestTheStreamEndsWithTheLastLeaseOfTheClient(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		calls := vtime.NewDrag(1, mostDrag)
		client := s.Client(vtime.WithDrag(calls))
		session := func() *lease.Session {
			s, err := lease.NewSession(anHour(t), client)
			require.NoError(t, err)
			vtime.Advance(time.Minute)
			return s
		}
		one, two := session(), session()
		require.NoError(t, one.Close(t.Context()))
		vtime.Advance(time.Minute)
		require.Equal(t, lease.Healthy, two.State())
		require.Equal(t, 1, calls.Counted()[opened])
		require.NoError(t, two.Close(t.Context()))

		three := session()
		require.Equal(t, 2, calls.Counted()[opened])
		require.NoError(t, three.Close(t.Context()))
	})
}

func TestSparesOfASlowSpellAreClosed(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		calls := vtime.NewDrag(1, 0)
		client, cut := s.CutClient(vtime.WithDrag(calls))
		session, err := lease.NewSession(t.Context(), client)
		require.NoError(t, err)
		vtime.Advance(time.Minute)
		cut.HoldToClient()
		vtime.Advance(6 * time.Second)
		cut.Heal()
		spell := calls.Counted()[opened]
		require.Greater(t, spell, 1)
		require.LessOrEqual(t, spell, 4)
		vtime.Advance(time.Hour)
		require.Equal(t, spell, calls.Counted()[opened], "one of them goes on")
		require.Equal(t, lease.Healthy, session.State())
		require.NoError(t, session.Close(t.Context()))
	})
}

func TestALeaseOutlivesAsManyLostStreamsAsThereMayBe(t *testing.T) {
	t.Parallel()
	const lost = 4
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var rec etcdtest.Recorder
		onAcknowledgement(&rec, func(int, *pb.LeaseKeepAliveResponse) (bool, error) {
			return rec.Count("LeaseKeepAliveStream") <= lost, nil
		})
		l, err := lease.Grant(t.Context(), s.Client(vtime.WithDialOptions(rec.DialOptions()...)), lease.WithTTL(10*time.Second))
		require.NoError(t, err)
		vtime.Advance(30 * time.Second)
		require.NoError(t, l.Err())
		require.Equal(t, lost+1, rec.Count("LeaseKeepAliveStream"))
		require.LessOrEqual(t, rec.Open("LeaseKeepAlive"), lost)
		require.NoError(t, l.Close(t.Context()))
	})
}

// The first stream answers one of the leases and then dies, so that it has answered after the
// other has asked.
func TestLeasesOfAClientOutliveAsManyLostStreamsAsThereMayBe(t *testing.T) {
	t.Parallel()
	const lost, apart = 4, 10 * time.Millisecond
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var rec etcdtest.Recorder
		onAcknowledgement(&rec, func(n int, _ *pb.LeaseKeepAliveResponse) (bool, error) {
			if n == 1 {
				vtime.Sleep(2 * apart)
				return false, nil
			}
			return rec.Count("LeaseKeepAliveStream") <= lost, nil
		})
		client := s.Client(vtime.WithDialOptions(rec.DialOptions()...))
		var leases []*lease.Lease
		for range 2 {
			l, err := lease.Grant(t.Context(), client, lease.WithTTL(10*time.Second))
			require.NoError(t, err)
			leases = append(leases, l)
			vtime.Advance(apart)
		}
		vtime.Advance(30 * time.Second)
		for _, l := range leases {
			require.NoError(t, l.Err())
		}
		require.Equal(t, lost+1, rec.Count("LeaseKeepAliveStream"))
		for _, l := range leases {
			require.NoError(t, l.Close(t.Context()))
		}
	})
}

func TestARenewalWhoseStreamEndsIsMadeAgainAtOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(grpc.ServerStream) error{
		"it breaks": func(grpc.ServerStream) error { return status.Error(codes.Unavailable, "broken") },
		// It would keep the renewal, unless it is asked not to.
		"the member knows no leader": func(stream grpc.ServerStream) error {
			md, _ := metadata.FromIncomingContext(stream.Context())
			if len(md.Get(rpctypes.MetadataRequireLeaderKey)) == 0 {
				<-stream.Context().Done()
			}
			return rpctypes.ErrGRPCNoLeader
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ended atomic.Bool
			endFirst := func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
				if info.FullMethod == pb.Lease_LeaseKeepAlive_FullMethodName && !ended.Swap(true) {
					return end(stream)
				}
				return handle(srv, stream)
			}
			vtime.Run(t, func(t *testing.T, s *vtime.Server) {
				const ttl = 10 * time.Second // a renewal is overdue after a second
				l, began := grantAt(t, s.Client(), lease.WithTTL(ttl), lease.WithClockDrift(0))
				vtime.Advance(ttl/3 + 100*time.Millisecond)
				require.True(t, ended.Load())
				require.Equal(t, lease.Healthy, l.State())
				require.True(t, l.Deadline().After(began.Add(ttl)))
				require.NoError(t, l.Close(t.Context()))
			}, vtime.WithServerOptions(grpc.StreamInterceptor(endFirst)))
		})
	}
}

func TestAnAnswerIsForTheLeaseThatItNames(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		var rec etcdtest.Recorder
		client := s.Client(vtime.WithDialOptions(rec.DialOptions()...))
		first, _ := grantAt(t, client, lease.WithTTL(10*time.Second))
		vtime.Advance(10 * time.Millisecond)
		second, _ := grantAt(t, client, lease.WithTTL(10*time.Second))
		onAcknowledgement(&rec, func(_ int, resp *pb.LeaseKeepAliveResponse) (bool, error) {
			return resp.ID == int64(first.ID()), nil
		})
		vtime.Advance(10 * time.Second)
		requireLost(t, first)
		require.NoError(t, second.Err())
		require.NoError(t, first.Close(t.Context()))
		require.NoError(t, second.Close(t.Context()))
	})
}
