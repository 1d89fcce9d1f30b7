package vtime

import (
	"context"
	"net"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Client returns a client with connections of its own, which Run closes at the end. It may be closed earlier.
func (s *Server) Client(opts ...ClientOption) *clientv3.Client {
	s.t.Helper()
	client, _ := s.CutClient(opts...)
	return client
}

// CutClient is [Server.Client], with control over what the network does to this client.
func (s *Server) CutClient(opts ...ClientOption) (*clientv3.Client, *Cut) {
	s.t.Helper()
	config, cut := s.CutConfig(opts...)
	client, err := clientv3.New(config)
	require.NoError(s.t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, client)
	return client, cut
}

// CutConfig returns the configuration of clients that share the connections which the cut controls. Who makes such a
// client closes it.
func (s *Server) CutConfig(opts ...ClientOption) (clientv3.Config, *Cut) {
	cut := newCut()
	config := clientv3.Config{
		Endpoints: []string{memberName},
		Logger:    zap.NewNop(),
		DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return cut.dial(ctx, s) }),
		},
	}
	for _, opt := range opts {
		opt.applyClient(&config)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cuts = append(s.cuts, cut)
	return config, cut
}

// ClientOption changes a client.
type ClientOption interface{ applyClient(config *clientv3.Config) }

type clientOptionFunc func(config *clientv3.Config)

func (f clientOptionFunc) applyClient(config *clientv3.Config) { f(config) }

// WithDialOptions adds grpc options to a client, such as interceptors that record what it sends.
func WithDialOptions(opts ...grpc.DialOption) ClientOption {
	return clientOptionFunc(func(config *clientv3.Config) { config.DialOptions = append(config.DialOptions, opts...) })
}

// WithConfig lets change edit a client's configuration, for instance to log in or to set DialKeepAliveTime (from
// five seconds up: the server disconnects who pings more often).
func WithConfig(change func(config *clientv3.Config)) ClientOption { return clientOptionFunc(change) }
