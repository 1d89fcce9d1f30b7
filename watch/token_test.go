package watch_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/conclave-go/conclave/internal/vtime"
	"github.com/conclave-go/conclave/watch"
)

// token is what streams for watches are opened with, as the server sees it.
type token struct {
	age     atomic.Int64 // how often it has expired
	refused atomic.Int64
}

// expire has the server refuse watches on the streams that there are.
func (k *token) expire() { k.age.Add(1) }

func (k *token) option() vtime.Option {
	return vtime.WithServerOptions(grpc.ChainStreamInterceptor(
		func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if !strings.HasSuffix(info.FullMethod, "/Watch") {
				return handler(srv, stream)
			}
			return handler(srv, &tokenStream{ServerStream: stream, token: k, age: k.age.Load()})
		}))
}

// tokenStream is one that was opened with a token.
type tokenStream struct {
	grpc.ServerStream
	token *token
	age   int64
	mu    sync.Mutex // of who sends
}

func (s *tokenStream) SendMsg(m any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ServerStream.SendMsg(m)
}

// RecvMsg answers for the server as long as it would refuse.
func (s *tokenStream) RecvMsg(m any) error {
	for {
		err := s.ServerStream.RecvMsg(m)
		req, ok := m.(*pb.WatchRequest)
		if err != nil || !ok || req.GetCreateRequest() == nil || s.age == s.token.age.Load() {
			return err
		}
		s.token.refused.Add(1)
		refusal := &pb.WatchResponse{
			Header: &pb.ResponseHeader{}, WatchId: -1, Created: true, Canceled: true, CancelReason: rpctypes.ErrGRPCInvalidAuthToken.Error(),
		}
		if err := s.SendMsg(refusal); err != nil {
			return err
		}
	}
}

// The watches that share a gRPC stream whose token has expired go on, and a server that
// refuses another one there is alive.
func TestWatchesGoOnAfterTheTokenOfTheirSharedGRPCStreamHasExpired(t *testing.T) {
	t.Parallel()
	var token token
	vtime.Run(t, func(t *testing.T, s *vtime.Server) {
		client := s.Client()
		var left atomic.Int64
		options := []watch.CacheOption{watch.WithStall(10 * time.Second), watch.WithObserver(watch.Observer{
			Reopened: func(*watch.Progress, watch.Reason) { left.Add(1) },
		})}
		all := newCrowd(t, client, options...)
		token.expire()
		vtime.Advance(2 * time.Minute)
		require.Zero(t, left.Load())
		require.Positive(t, token.refused.Load())

		late, err := watch.NewCache(t.Context(), client, "", text, append(options, watch.WithKeyspace())...)
		require.NoError(t, err)
		all = append(all, late)
		rev := put(t, client, "000/k", "v")
		for _, c := range all {
			require.NoError(t, c.WaitRevision(t.Context(), rev))
		}
		require.Zero(t, left.Load())
		closeAll(t, all)
		vtime.Advance(time.Second)
	}, token.option())
}

// Only so many shared gRPC streams go on beside the one that new watches get.
func TestFewRefusedGRPCStreamsGoOn(t *testing.T) {
	t.Parallel()
	l := watch.NewLines(new(clientv3.Client)) // it is not used
	defer l.Close()
	for range watch.MaxRefused {
		l.Share()
		l.Replace()
	}
	require.Zero(t, l.Aside())
	l.Share()
	require.Zero(t, l.Aside(), "the last is for new watches")
	l.Replace()
	l.Share()
	require.Equal(t, watch.MaxRefused+1, l.Aside(), "all but that")
}
