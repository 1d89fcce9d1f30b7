package cluster

import (
	"context"
	"maps"
	"path"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// Counter counts what clients ask of etcd, by method: unary calls, and requests
// sent on streams. Calls that clientv3 repeats count again. The zero value is
// ready; its methods may be called concurrently.
type Counter struct {
	mu     sync.Mutex
	counts map[string]int
}

// DialOptions returns what makes a client report to c.
func (c *Counter) DialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(c.unary), grpc.WithChainStreamInterceptor(c.stream)}
}

// Counts returns how often each method was called.
func (c *Counter) Counts() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts)
}

func (c *Counter) add(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = make(map[string]int)
	}
	c.counts[method]++
}

func (c *Counter) unary(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	c.add(path.Base(method))
	return invoke(ctx, method, req, reply, cc, opts...)
}

func (c *Counter) stream(
	ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	return &countedStream{ClientStream: s, counter: c, method: path.Base(method)}, nil
}

// countedStream counts what is sent on a stream.
type countedStream struct {
	grpc.ClientStream

	counter *Counter
	method  string
}

// SendMsg counts and sends m.
func (s *countedStream) SendMsg(m any) error {
	method := s.method
	if w, ok := m.(*etcdserverpb.WatchRequest); ok {
		switch w.RequestUnion.(type) {
		case *etcdserverpb.WatchRequest_CancelRequest:
			method = "WatchCancel"
		case *etcdserverpb.WatchRequest_ProgressRequest:
			method = "WatchProgress"
		}
	}
	s.counter.add(method)
	return s.ClientStream.SendMsg(m)
}
