package vtime

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/features"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"

	"github.com/conclave-go/conclave/internal/bubble"
	"github.com/conclave-go/conclave/internal/clock"
	_ "github.com/conclave-go/conclave/internal/smallwal"
	"github.com/conclave-go/conclave/internal/tempdir"
)

const (
	memberName = "m0"

	// Ticks cost real time, so they are as slow as etcd's default; six of them are the longest election timeout with
	// which the server still grants leases of one second.
	tickMs        = 100
	electionTicks = 6

	// pipeSize is what a connection buffers in each direction. It is less than grpc sends unasked, 64 KiB a connection,
	// so that writes do block at times.
	pipeSize = 32 << 10

	// afterlife is the virtual time that goroutines have to end by themselves after a Run.
	afterlife = time.Minute
)

// errRefused is what dialling a stopped server returns.
var errRefused = errors.New("vtime: connection refused: the server is stopped")

// Server is an etcd member in a bubble. [Run] makes one.
type Server struct {
	t       *testing.T
	dir     string
	options options

	mu      sync.Mutex
	up      *instance // nil while stopped
	clients []*clientv3.Client
	cuts    []*Cut
}

// instance is one life of the server, from a start to a stop.
type instance struct {
	etcd   *etcdserver.EtcdServer
	rpc    *grpc.Server
	lis    *bufconn.Listener
	served chan struct{}
}

// Run calls fn in a synctest bubble, whose time begins at 2000-01-01 UTC plus the instant that etcd needs to elect itself,
// with a fresh single-member etcd. Package clock follows virtual time for as long. When fn and the functions it gave
// to t.Cleanup have returned, Run closes the clients and the server and waits until no goroutine of the bubble is
// left; one that is only asleep has a minute. See the package comment for what fn may do.
func Run(t *testing.T, fn func(t *testing.T, s *Server), opts ...Option) {
	t.Helper()
	require.True(t, borrowed, "vtime: clientv3 has no variable valCtxCh any more: "+
		"see what watchGrpcStream's context waits for now, and the package comment of vtime")
	var o options
	for _, opt := range opts {
		opt.applyServer(&o)
	}
	restoreClock := clock.Virtual()
	defer restoreClock()
	dir, err := tempdir.Make("vtime") // outside the bubble, as is its removal
	require.NoError(t, err)
	defer func() { require.NoError(t, dir.Remove()) }()
	bubble.Test(t, func(t *testing.T) {
		t.Helper()
		s := &Server{t: t, dir: dir.Path(), options: o}
		t.Cleanup(s.shutdown)
		s.Start()
		fn(t, s)
	})
}

// Sleep lets d of virtual time pass for the calling goroutine.
func Sleep(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // in a bubble, sleeping is how time advances, and exact
}

// Advance lets d of virtual time pass and then waits until every other goroutine of the bubble is done with what that
// set off: until they all wait again. Only one goroutine of a bubble may do so at a time.
func Advance(d time.Duration) {
	Sleep(d)
	synctest.Wait()
}

// Start starts the stopped server on the data it stopped with, and returns once it serves. Leases begin their TTL anew,
// as they do whenever etcd gets a leader.
func (s *Server) Start() {
	s.t.Helper()
	s.mu.Lock()
	running := s.up != nil
	s.mu.Unlock()
	require.False(s.t, running, "vtime: the server is running")

	etcd, err := etcdserver.NewServer(s.config())
	require.NoError(s.t, err)
	etcd.Start()
	<-etcd.ReadyNotify()
	in := &instance{
		etcd:   etcd,
		rpc:    v3rpc.Server(etcd, nil, nil, s.grpcOptions()...),
		lis:    bufconn.Listen(pipeSize),
		served: make(chan struct{}),
	}
	go func() {
		defer close(in.served)
		_ = in.rpc.Serve(in.lis) // ends with stop, and only says so
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = in
}

// Stop stops the server as a crash would, losing only what is in flight: connections break, dialling is refused. Clients
// that are cut learn of it when healed. A stopped server stays stopped.
func (s *Server) Stop() {
	s.mu.Lock()
	in := s.up
	s.up = nil
	s.mu.Unlock()
	if in == nil {
		return
	}
	in.rpc.Stop()
	<-in.served
	in.etcd.HardStop()
}

// Restart is Stop followed by Start, in no virtual time but what an election needs.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.Start()
}

// Etcd is the running server itself, for looking behind the scenes, or nil while it is stopped. Restart makes a new one.
func (s *Server) Etcd() *etcdserver.EtcdServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up == nil {
		return nil
	}
	return s.up.etcd
}

// Compact compacts the history up to the present revision, which it returns.
func (s *Server) Compact(ctx context.Context) int64 {
	s.t.Helper()
	etcd := s.Etcd()
	require.NotNil(s.t, etcd, "vtime: the server is stopped")
	rev := etcd.KV().Rev()
	_, err := etcd.Compact(ctx, &pb.CompactionRequest{Revision: rev, Physical: true})
	require.NoError(s.t, err)
	return rev
}

// shutdown ends everything in the order in which nothing waits for something that is gone: clients (their Close
// waits for their streams), their connections (which a cut keeps open towards the server), the server. Time stands still
// once the bubble's main function has returned, so it lets some pass before, free of charge with etcd's tickers
// stopped, for goroutines that are only asleep: those of clientv3 that Close does not wait for, and interceptors.
func (s *Server) shutdown() {
	s.mu.Lock()
	clients, cuts := s.clients, s.cuts
	s.mu.Unlock()
	for _, client := range clients {
		_ = client.Close() // the test may have closed it
	}
	for _, cut := range cuts {
		cut.Reset()
	}
	s.Stop()
	Sleep(afterlife)
}

func (s *Server) config() config.ServerConfig {
	lg := s.options.logger()
	// Never dialled or listened on: a single member has no peers, and clients come through the pipes.
	urls := types.MustNewURLs([]string{"http://127.0.0.1:1"})
	return config.ServerConfig{
		Name:                memberName,
		DataDir:             s.dir,
		ClientURLs:          urls,
		PeerURLs:            urls,
		InitialPeerURLsMap:  types.URLsMap{memberName: urls},
		InitialClusterToken: "vtime",
		NewCluster:          true,
		TickMs:              tickMs,
		ElectionTicks:       electionTicks,
		PreVote:             true,

		// The rest are embed's defaults, but without fsync and with a cheap password hash.
		MaxTxnOps:                  128,
		MaxRequestBytes:            1536 << 10,
		SnapshotCount:              etcdserver.DefaultSnapshotCount,
		SnapshotCatchUpEntries:     etcdserver.DefaultSnapshotCatchUpEntries,
		BackendBatchInterval:       100 * time.Millisecond,
		BackendBatchLimit:          10000,
		InitialElectionTickAdvance: true,
		AuthToken:                  "simple",
		BcryptCost:                 4,
		TokenTTL:                   300,
		MaxLearners:                1,
		UnsafeNoFsync:              true,
		ServerFeatureGate:          features.NewDefaultServerFeatureGate(memberName, lg),
		Logger:                     lg,
	}
}

// grpcOptions are embed's defaults, which decide when a server gives up a silent client and when it
// rejects a client that pings too often, followed by the caller's.
func (s *Server) grpcOptions() []grpc.ServerOption {
	return append([]grpc.ServerOption{
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * time.Hour, Timeout: 20 * time.Second}),
	}, s.options.server...)
}

// listener returns where to dial at present.
func (s *Server) listener() (*bufconn.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up == nil {
		return nil, errRefused
	}
	return s.up.lis, nil
}

type options struct {
	lg     *zap.Logger
	server []grpc.ServerOption
}

func (o options) logger() *zap.Logger {
	if o.lg == nil {
		return zap.NewNop()
	}
	return o.lg
}

// Option changes the server of a [Run].
type Option interface{ applyServer(o *options) }

type optionFunc func(o *options)

func (f optionFunc) applyServer(o *options) { f(o) }

// WithLogger shows the server's log, for instance through zaptest; by default there is none.
func WithLogger(lg *zap.Logger) Option { return optionFunc(func(o *options) { o.lg = lg }) }

// WithServerOptions adds grpc options to the server, such as interceptors that delay, fail or record calls. They run
// inside etcd's own.
func WithServerOptions(opts ...grpc.ServerOption) Option {
	return optionFunc(func(o *options) { o.server = append(o.server, opts...) })
}
