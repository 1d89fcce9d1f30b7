package etcdtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/conclave-go/conclave/internal/etcdtest"
)

// stalled returns a stream that holds back the answer to a keep-alive, which the server
// has given.
func stalled(ctx context.Context, t *testing.T) (release []func(), received <-chan error) {
	t.Helper()
	var rec etcdtest.Recorder
	client := etcdtest.New(t).Client(t, etcdtest.WithRecorder(&rec))
	id, err := client.Grant(t.Context(), 60)
	require.NoError(t, err)
	stream, err := clientv3.RetryLeaseClient(client).LeaseKeepAlive(ctx)
	require.NoError(t, err)
	release = append(release, rec.Stall("LeaseKeepAlive"), rec.Stall("LeaseKeepAlive"))
	require.NoError(t, stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id.ID)}))
	errs := make(chan error, 1)
	go func() {
		_, err := stream.Recv()
		errs <- err
	}()
	require.Eventually(t, func() bool { return answered(&rec) }, guard, time.Millisecond)
	require.Empty(t, errs)
	return release, errs
}

func TestAStalledStreamIsReceivedOnceReleased(t *testing.T) {
	t.Parallel()
	release, received := stalled(t.Context(), t)
	release[0]()
	require.NoError(t, <-received)
	release[0]() // a second time, and another's: nothing is stalled any more
	release[1]()
}

func TestAStalledStreamEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	release, received := stalled(ctx, t)
	cancel()
	require.Equal(t, codes.Canceled, status.Code(<-received))
	release[0]()
}

// answered reports whether a keep-alive has come back.
func answered(rec *etcdtest.Recorder) bool {
	for _, c := range rec.Calls() {
		if _, ok := c.Response.(*pb.LeaseKeepAliveResponse); ok {
			return true
		}
	}
	return false
}

func TestARecorderThatForgetsCountsAndInterferes(t *testing.T) {
	t.Parallel()
	c := etcdtest.New(t)
	rec := etcdtest.Recorder{Forget: true}
	client := c.Client(t, etcdtest.WithRecorder(&rec))
	dropped := rec.DropReplies("Put", 1)
	_, err := client.Put(t.Context(), c.Prefix(t)+"key", "value")
	require.Error(t, err)
	<-dropped
	require.Equal(t, 1, rec.Count("Put"))
	require.Empty(t, rec.Calls())
}
