package attempt_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/conclave-go/conclave/internal/attempt"
)

// outgoing returns what a request with ctx carries.
func outgoing(ctx context.Context) metadata.MD {
	md, _ := metadata.FromOutgoingContext(ctx)
	return md
}

func TestEveryAttemptRequiresALeader(t *testing.T) {
	t.Parallel()
	var sent []metadata.MD
	try := func(ctx context.Context) error {
		if sent = append(sent, outgoing(ctx)); len(sent) == 1 {
			return rpctypes.ErrNoLeader
		}
		return nil
	}
	require.NoError(t, attempt.Do(t.Context(), time.Minute, try))
	require.NoError(t, attempt.Once(t.Context(), time.Minute, try))
	_, err := attempt.Hedge(t.Context(), attempt.Limits{Patience: time.Minute}, func(ctx context.Context) (int, error) {
		return 0, try(ctx)
	})
	require.NoError(t, err)
	for _, md := range sent {
		require.Equal(t, []string{rpctypes.MetadataHasLeader}, md[rpctypes.MetadataRequireLeaderKey])
	}
	require.Len(t, sent, 4)
}

func TestWhatACallerSendsBesidesIsKept(t *testing.T) {
	t.Parallel()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "trace", "7")
	md := outgoing(attempt.RequireLeader(ctx))
	require.Equal(t, []string{"7"}, md["trace"])
	require.Equal(t, []string{rpctypes.MetadataHasLeader}, md[rpctypes.MetadataRequireLeaderKey])
	again := attempt.RequireLeader(clientv3.WithRequireLeader(ctx))
	require.Equal(t, md, outgoing(again), "once is enough")
}

func BenchmarkRequireLeader(b *testing.B) {
	b.Run("made once", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			attempt.RequireLeader(b.Context())
		}
	})
	b.Run("made each time", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			clientv3.WithRequireLeader(b.Context())
		}
	})
}
