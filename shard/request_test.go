package shard_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/shard"
)

// calls are those that need no member.
func calls() map[string]func(ctx context.Context, client *clientv3.Client) error {
	return map[string]func(ctx context.Context, client *clientv3.Client) error{
		"Move":     func(ctx context.Context, c *clientv3.Client) error { return shard.Move(ctx, c, group, 0, "a") },
		"Move ''":  func(ctx context.Context, c *clientv3.Client) error { return shard.Move(ctx, c, group, 0, "") },
		"Cordon":   func(ctx context.Context, c *clientv3.Client) error { return shard.Cordon(ctx, c, group, "a") },
		"Uncordon": func(ctx context.Context, c *clientv3.Client) error { return shard.Uncordon(ctx, c, group, "a") },
		"Evacuate": func(ctx context.Context, c *clientv3.Client) error { return shard.Evacuate(ctx, c, group, "a") },
		"Freeze":   func(ctx context.Context, c *clientv3.Client) error { return shard.Freeze(ctx, c, group) },
		"Thaw":     func(ctx context.Context, c *clientv3.Client) error { return shard.Thaw(ctx, c, group) },
		"Inspect": func(ctx context.Context, c *clientv3.Client) error {
			_, err := shard.Inspect(ctx, c, group)
			return err
		},
		"NewRouter": func(ctx context.Context, c *clientv3.Client) error {
			_, err := shard.NewRouter(ctx, c, group)
			return err
		},
	}
}

func TestCallsEndWithTheirClient(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		a := f.join("a")
		for name, call := range calls() {
			client, cut := s.CutClient()
			require.NoError(t, call(t.Context(), client), name)
			cut.Cut()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			began, ended := time.Now(), make(chan error, 1)
			go func() { ended <- call(ctx, client) }()
			vtime.Advance(time.Second)
			require.NoError(t, client.Close())
			for _, err := range []error{<-ended, call(ctx, client)} { // closed meanwhile, and before
				require.ErrorContains(t, err, "the etcd client was closed", name)
			}
			require.Less(t, time.Since(began), 5*time.Second, name)
			cancel()
		}
		a.stop()
	})
}

func TestJoinEndsWithItsClient(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		for _, closes := range []string{"before", "meanwhile"} {
			f := newFleet(t, s, 4)
			p := f.process()
			if closes == "before" {
				require.NoError(t, p.client.Close())
			}
			p.rec.Hook("Txn", func(context.Context, any, func() error) error {
				_ = p.client.Close()
				return status.Error(codes.Unavailable, "gone")
			})
			began := time.Now()
			require.ErrorContains(t, <-p.joinsA(), "client was closed", closes)
			require.Less(t, time.Since(began), 5*time.Second, closes)
		}
	})
}

func TestCallsAreRefusedForGoodOnlyByWhatDoesNotPass(t *testing.T) {
	t.Parallel()
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		f := newFleet(t, s, 4)
		a := f.join("a")
		p := f.process()
		for _, passes := range []error{
			status.Error(codes.Unavailable, "x"), status.Error(codes.Internal, "x"), status.Error(codes.Unauthenticated, "x"),
			status.Error(codes.Unknown, "raft proposal dropped"), status.Error(codes.Unknown, "raft: stopped"),
			status.Error(codes.FailedPrecondition, "etcdserver: rpc not supported for learner"),
			status.Error(codes.ResourceExhausted, "etcdserver: too many requests"),
			status.Error(codes.InvalidArgument, "etcdserver: revision of auth store is old"),
		} {
			refused := p.rec.RefuseCalls("Txn", 1, passes)
			require.NoError(t, shard.Freeze(t.Context(), p.client, group), passes.Error())
			<-refused
		}
		for _, final := range []error{
			status.Error(codes.NotFound, "etcdserver: requested lease not found"), status.Error(codes.PermissionDenied, "etcdserver: permission denied"),
			status.Error(codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"), status.Error(codes.Unimplemented, "x"),
			status.Error(codes.ResourceExhausted, "trying to send message larger than max"),
		} {
			refused := p.rec.RefuseCalls("Txn", 1, final)
			require.Error(t, shard.Freeze(t.Context(), p.client, group), final.Error())
			<-refused
		}
		a.stop()
	})
}
